"""A judge as a reward function for TRL's trainers: `GRPOTrainer(..., reward_funcs=[flip_reward(judge)])`.

TRL calls reward functions with keywords only and awaits those that are coroutine functions. A None drops a sample only
where it is the only reward: beside another reward function's value TRL counts it as 0.0. So a judge's failure is given
the mean of its group, which is no advantage, and None only where a whole batch failed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.rewards import Reward, with_stand_ins

Prompt = str | list[Message]
LogMetric = Callable[[str, float], None]
LogExtra = Callable[[str, list[Any]], None]


class RewardFunction(Protocol):
    """What TRL takes as a reward function."""

    __name__: str

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Prompt], **columns: Any) -> Awaitable[Any]:
        """One reward per completion; a failed one gets its group's mean, a wholly failed batch None throughout."""
        ...


@dataclass
class _Outage:
    """How many batches in a row brought no reward at all."""

    allowed: int
    batches: int = 0

    def note(self, rewards: Sequence[Reward], judge: Judge) -> None:
        if any(reward.score is not None for reward in rewards):
            self.batches = 0
            return
        self.batches += 1
        if self.batches >= self.allowed:
            where = ", ".join(url or "its provider" for url in judge.client.config.endpoints())
            last = rewards[-1]
            raise FlipError(
                f"the judge {judge.client.config.llm_judge_model} at {where} gave no reward for {self.batches} batches "
                f"in a row; the last error was {last.error}: {last.detail}"
            )


def flip_reward(judge: Judge, *, name: str | None = None, max_failed_batches: int = 3) -> RewardFunction:
    """A reward function that judges each prompt's completions as a group. It pickles.

    Args:
        judge: Any judge; `FlipJudge` gives FLIP's rewards, `PointwiseJudge` the usual baseline's.
        name: Name in TRL's logs, `rewards/<name>/mean`; else the judge's.
        max_failed_batches: Batches in a row that may bring no reward at all before training stops with the reason.

    Example:
        >>> from open_instruct_flip import FlipJudge
        >>> flip_reward(FlipJudge(model="hosted_vllm/judge", api_base="http://127.0.0.1:8001/v1")).__name__
        'flip'
    """
    function = functools.partial(_rewards, judge=judge, outage=_Outage(max_failed_batches))
    # TRL names the reward after the function, and asks `inspect` whether it is a coroutine function; an instance
    # with an `async def __call__` would not count as one, a partial of one does.
    function.__name__ = name or judge.name  # type: ignore[attr-defined]
    return function  # type: ignore[return-value]


async def _rewards(
    *,
    prompts: Sequence[Prompt],
    completions: Sequence[Prompt],
    judge: Judge,
    outage: _Outage,
    log_metric: LogMetric | None = None,
    log_extra: LogExtra | None = None,
    **_columns: Any,
) -> list[float | None]:
    conversations = [_conversation(prompt) for prompt in prompts]
    responses = [_response(completion) for completion in completions]
    groups = _groups(conversations)
    rewards = await _judge_groups(judge, conversations, responses, groups)
    outage.note(rewards, judge)
    if log_metric:
        for metric, value in _metrics(rewards).items():
            log_metric(f"{judge.name}/{metric}", value)
    # With failures too: TRL would put the column of an earlier batch beside this one's completions.
    if log_extra and isinstance(judge, FlipJudge):
        log_extra("inferred_instruction", [reward.inferred_instruction or "" for reward in rewards])
    return _by_group([reward.score for reward in rewards], groups)


def _by_group(scores: list[float | None], groups: Sequence[Sequence[int]]) -> list[float | None]:
    """The scores, failed ones replaced by their group's mean, or by the batch's where a whole group failed."""
    valid = [score for score in scores if score is not None]
    of_batch = fmean(valid) if valid else None
    filled = list(scores)
    for members in groups:
        for i, score in zip(members, with_stand_ins([scores[i] for i in members], of_batch), strict=True):
            filled[i] = score
    return filled


def _groups(conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Numbers of the completions that answer the same conversation."""
    groups: dict[str, list[int]] = {}
    for number, conversation in enumerate(conversations):
        groups.setdefault(repr(conversation), []).append(number)
    return list(groups.values())


async def _judge_groups(
    judge: Judge, conversations: list[list[Message]], responses: list[str], groups: list[list[int]]
) -> list[Reward]:
    judged = await asyncio.gather(
        *(judge.score(conversations[members[0]], [responses[i] for i in members]) for members in groups)
    )
    members = [number for group in groups for number in group]
    of_number = dict(zip(members, (reward for rewards in judged for reward in rewards), strict=True))
    return [of_number[number] for number in range(len(responses))]


def _metrics(rewards: Sequence[Reward]) -> dict[str, float]:
    """Means over a batch; what no reward knows is left out."""
    values = {
        "precision": [r.precision for r in rewards if r.precision is not None],
        "recall": [r.recall for r in rewards if r.recall is not None],
        "judge_latency_s": [r.latency_s for r in rewards if r.usage.requests and r.latency_s],
        "failure_rate": [float(r.score is None) for r in rewards],
        "duplicate_rate": [float(r.duplicate) for r in rewards],
    }
    return {name: fmean(of) for name, of in values.items() if of}


def _conversation(prompt: Prompt) -> list[Message]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _response(completion: Prompt) -> str:
    if isinstance(completion, str):
        return completion
    if not completion or not isinstance(completion[-1].get("content"), str):
        raise UsageError(f"a completion must end with a turn whose content is text, got {completion!r:.120}")
    return completion[-1]["content"]
