"""The reward function: gathers a batch, has each group judged once, and hands every process its own rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from statistics import fmean
from typing import Any, TypeVar

from open_instruct_flip.client.together import together
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.copies import CopyWatch, copy_rates, overlaps
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.failures.rates import failure_rates
from open_instruct_flip.integrations.trl.ranks import Ranks
from open_instruct_flip.integrations.trl.rollouts import Prompt, Rollout, RolloutReader, grouped
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import Reward

T = TypeVar("T")
LogMetric = Callable[[str, float], None]
LogExtra = Callable[[str, list[Any]], None]


def flip_reward(
    judge: Judge,
    *,
    name: str | None = None,
    processing_class: Any = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    failures: FailureConfig | None = None,
) -> JudgeReward:
    """A reward function that judges each prompt's completions as a group. It pickles.

    Args:
        judge: Any judge; `FlipJudge` gives FLIP's rewards, `PointwiseJudge` the usual baseline's. A policy learns
            within some fifty steps to quote its instruction where that pays: `<name>/copy_rate` shows it, and the
            judge's `copy_guard` takes the gain away.
        name: Name in TRL's logs, `rewards/<name>/mean`; else the judge's. Two reward functions need two names.
        processing_class: The trainer's tokenizer or processor: tells whether its chat template opens the thinking.
            Conversational prompts need it; without it a warning says what then is not known.
        chat_template_kwargs: The same as in `GRPOConfig`, where they are given there.
        failures: What becomes of failed judgements, and how long to wait for a judge that is down.

    Example:
        >>> from open_instruct_flip import FlipJudge
        >>> from transformers import AutoTokenizer
        >>> from open_instruct_flip.local.models import model_path
        >>> tokenizer = AutoTokenizer.from_pretrained(model_path("policy"))
        >>> judge = FlipJudge(model="hosted_vllm/judge", api_base="http://127.0.0.1:8001/v1")
        >>> flip_reward(judge, processing_class=tokenizer).__name__
        'flip'
    """
    reader = RolloutReader(processing_class, chat_template_kwargs)
    return JudgeReward(judge, name or judge.name, reader, failures or FailureConfig())


class JudgeReward:
    """What TRL takes as an asynchronous reward function; made by `flip_reward`.

    A callable object, as TRL's own parameterised rewards are: TRL names it by its `__name__`, awaits its `__call__`
    and may pickle it. Of a partial it would read the name of the function inside.
    """

    def __init__(self, judge: Judge, name: str, reader: RolloutReader, failures: FailureConfig) -> None:
        self.__name__ = name
        self._judge = judge
        self._reader = reader
        self._failures = failures
        self._infers = False

    def __reduce__(self) -> tuple[Any, ...]:
        # What a run has seen of the judge, and its process group, belong to their process.
        return type(self), (self._judge, self.__name__, self._reader, self._failures)

    @cached_property
    def _guard(self) -> OutageGuard:
        return OutageGuard(self._judge, self._failures)

    @cached_property
    def _copying(self) -> CopyWatch:
        return CopyWatch()

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks()

    async def __call__(
        self,
        *,
        prompts: Sequence[Prompt],
        completions: Sequence[Prompt],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: LogMetric | None = None,
        log_extra: LogExtra | None = None,
        **_columns: Any,
    ) -> list[float]:
        """One reward per completion of this process, in [0, 1], failed ones replaced as `failures` says.

        Raises:
            UsageError: A prompt or a completion can't be judged.
            JudgeUnusableError: No request to this judge can succeed.
            JudgeOutageError: The judge stayed down for longer than `failures` waits.
            FlipError: Another process failed, or a judgement, and its rule is "raise".
        """
        ranks = self._ranks  # before anything is awaited, so that every rank makes its own in the trainer's order
        slices = await ranks.gather(self._read(prompts, completions, completion_ids))
        rollouts = [rollout for of_rank in slices for rollout in of_rank]
        groups = grouped(rollouts)
        dealt = await ranks.gather(self._judge_groups(rollouts, groups[ranks.rank :: ranks.size]))
        judged = [dealt[number % ranks.size][number // ranks.size] for number in range(len(groups))]
        first = sum(map(len, slices[: ranks.rank]))
        mine = slice(first, first + len(prompts))
        rewards = _in_order(groups, judged)
        if ranks.rank == 0:
            self._copying.note(rewards)
        self._log(rewards, mine, log_metric, log_extra)
        return _in_order(groups, [self._guard.final_scores(group) for group in judged])[mine]

    async def _read(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Prompt],
        completion_ids: Sequence[Sequence[int]] | None,
    ) -> list[Rollout]:
        token_ids: Sequence[Sequence[int] | None] = completion_ids or [None] * len(completions)
        return [self._reader.read(*given) for given in zip(prompts, completions, token_ids, strict=True)]

    async def _judge_groups(self, rollouts: Sequence[Rollout], groups: Sequence[Sequence[int]]) -> list[list[Reward]]:
        return await together(self._judge_group([rollouts[i] for i in members]) for members in groups)

    async def _judge_group(self, rollouts: Sequence[Rollout]) -> list[Reward]:
        return await self._guard.score(rollouts[0].conversation, [rollout.response for rollout in rollouts])

    def _log(
        self,
        rewards: Sequence[Reward],
        mine: slice,
        log_metric: LogMetric | None,
        log_extra: LogExtra | None,
    ) -> None:
        if log_metric:  # TRL takes the mean over the ranks, so that each gives the whole batch's value
            for metric, value in _metrics(rewards).items():
                log_metric(f"{self.__name__}/{metric}", value)
        # Once there was one, with each batch: TRL would put an earlier batch's column beside this one's completions.
        self._infers = self._infers or any(reward.inferred_instruction is not None for reward in rewards)
        if log_extra and self._infers:
            column = [reward.inferred_instruction or "" for reward in rewards[mine]]
            log_extra(f"{self.__name__}/inferred_instruction", column)


def _in_order(groups: Sequence[Sequence[int]], values: Sequence[Sequence[T]]) -> list[T]:
    """The groups' values in the order of the rollouts."""
    numbers = [number for members in groups for number in members]
    of_number = dict(zip(numbers, chain.from_iterable(values), strict=True))
    return [of_number[number] for number in range(len(numbers))]


def _metrics(rewards: Sequence[Reward]) -> dict[str, float]:
    """Means over the whole batch, alike on all ranks; what no reward knows is left out."""
    values = {
        "precision": [r.precision for r in rewards if r.precision is not None],
        "recall": [r.recall for r in rewards if r.recall is not None],
        "judge_latency_s": [r.latency_s for r in rewards if r.usage.requests and r.latency_s],
        "duplicate_rate": [float(r.duplicate) for r in rewards],
        "copy_rate": copy_rates(rewards),
        "overlap": overlaps(rewards),
    }
    return failure_rates(rewards) | {name: fmean(of) for name, of in values.items() if of}
