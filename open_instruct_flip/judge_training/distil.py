"""A strong judge's inferences as pairs: response in, the instruction that it inferred out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from open_instruct_flip.conversation import Message, Target, hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.judge_training.distil_config import DistilConfig
from open_instruct_flip.judge_training.pairs import is_copied
from open_instruct_flip.judge_training.unlabelled import Unlabelled
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judging.counting import counted
from open_instruct_flip.judging.growing import GrowingFile
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.judging.stream import in_order
from open_instruct_flip.rewards import Reward, Usage
from open_instruct_flip.similarity.f1 import f1_score
from open_instruct_flip.thinking import final_answer

UNKNOWN = ""
"""Stands where a conversation would have its instruction. A judge that infers is not shown that turn."""


class Teacher(FlipJudge):
    """FLIP's judge where nobody knows the instruction: its reward is how far its own inferences agree.

    With one reply to each question (`num_samples`) that is 1.0.
    """

    def check(self) -> None:
        super().check()
        if self.config.copy_guard != "off":
            raise UsageError("--copy_guard compares a response with its instruction, which nobody knows here")

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        return None

    async def verdict(self, conversation: Sequence[Message], readings: Sequence[str]) -> dict[str, Any]:
        inferred, agreement = most_agreed(readings, self.config.num_samples)
        return {"score": agreement, "inferred_instruction": inferred}


def most_agreed(inferred: Sequence[str], num_samples: int) -> tuple[str, float]:
    """The inference that is most like the others, and how far all agree.

    Args:
        inferred: What could be read, at least one.
        num_samples: How many replies were asked for; one that could not be read agrees with none.

    Returns:
        The inference, the first of several; and the mean F1 over all pairs of replies, in [0, 1], of one reply 1.0.

    Example:
        >>> most_agreed(["Name a red fruit.", "Name a fruit.", "Name a fruit."], 3)
        ('Name a fruit.', 0.8666666666666667)
    """
    if num_samples == 1:
        return inferred[0], 1.0
    likeness = [0.0] * len(inferred)
    for one, other in combinations(range(len(inferred)), 2):
        f1 = f1_score(inferred[one], inferred[other]).f1
        likeness[one] += f1
        likeness[other] += f1
    nearest = max(range(len(inferred)), key=lambda number: likeness[number])
    return inferred[nearest], sum(likeness) / (num_samples * (num_samples - 1))


@dataclass(slots=True)
class Distilled:
    """What has come of it so far.

    Attributes:
        pairs: Pairs that the file holds.
        kept: Those of them from earlier runs.
        failures: Why other responses have none.
        overlaps: F1 of the inferred and the true instruction, of each new pair whose row has one.
        num_copied: New pairs whose instruction stands in the response word for word: those teach nothing.
        usage: What this run took.
    """

    pairs: int
    kept: int
    failures: list[str] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    num_copied: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def num_responses(self) -> int:
        """Responses that have a pair."""
        return self.pairs

    @property
    def num_failures(self) -> int:
        """Responses that have none."""
        return len(self.failures)

    @property
    def failure_rate(self) -> float:
        """Share of the responses that were asked about now which have none, in [0, 1]."""
        asked = self.pairs - self.kept + self.num_failures
        return self.num_failures / asked if asked else 0.0


def key_of_pair(row: Output, target: Target) -> Hashable:
    """What a pair's response is found by in a file of them; raises KeyError, TypeError or UsageError of another row."""
    return _key(hide_instruction(row["messages"], target).context, row["response"])


def without_pair(responses: Iterable[Unlabelled], there: Container[Hashable]) -> list[Unlabelled]:
    """Those that have no pair yet, each different one once."""
    distinct: dict[Hashable, Unlabelled] = {}
    for response in responses:
        distinct.setdefault(_key(response.context, response.response), response)
    return [response for key, response in distinct.items() if key not in there]


async def count(responses: Sequence[Unlabelled], teacher: Teacher) -> Usage:
    """What asking about these takes where each is answered at once: prompt tokens about, reply tokens at most."""
    judge, client = counted(teacher)
    for response in responses:
        await judge.score(response.conversation(UNKNOWN), [response.response])
    return client.usage


async def distil(
    responses: Sequence[Unlabelled],
    pairs: GrowingFile,
    teacher: Teacher,
    config: DistilConfig,
    watch: Watch = lambda totals, position: None,
) -> Distilled:
    """Append a pair for each of these responses as it is inferred; one whose judgement fails is left out.

    Raises:
        JudgeUnusableError: No request to this judge can succeed. What is finished is kept.
        JudgeOutageError: The judge is gone for too long. What is finished is kept.
    """
    done = Distilled(len(pairs), kept=len(pairs))
    async with teacher:
        started = _started(responses, OutageGuard(teacher, config.failures()), pairs, teacher)
        async for response, reward in in_order(started, teacher.client.config.max_concurrency):
            done.usage += reward.usage
            if reward.inferred_instruction is None:
                done.failures.append(f"{response.place}: {reward.error}: {reward.detail}")
            else:
                done.pairs += 1
                done.num_copied += is_copied(reward.inferred_instruction, final_answer(response.response))
                if response.instruction is not None:
                    done.overlaps.append(f1_score(reward.inferred_instruction, response.instruction).f1)
            watch(done, done.pairs - done.kept + done.num_failures)
    return done


def _started(
    responses: Sequence[Unlabelled], guard: OutageGuard, pairs: GrowingFile, teacher: Teacher
) -> Iterator[tuple[int, asyncio.Future[tuple[Unlabelled, Reward]]]]:
    return ((1, asyncio.ensure_future(_inferred(response, guard, pairs, teacher))) for response in responses)


async def _inferred(
    response: Unlabelled, guard: OutageGuard, pairs: GrowingFile, teacher: Teacher
) -> tuple[Unlabelled, Reward]:
    """The judgement of a response. Its pair is kept at once: results come in order, and may wait for a slow one."""
    (reward,) = await guard.score(response.conversation(UNKNOWN), [response.response])
    if reward.inferred_instruction is not None:
        pairs.append(_pair(response, reward, teacher))
    return response, reward


def _pair(response: Unlabelled, reward: Reward, teacher: Teacher) -> Output:
    """A row that `flip judge train` reads."""
    inferred = reward.inferred_instruction or ""
    return {
        "messages": response.conversation(inferred),
        "response": response.response,
        "agreement": reward.score if teacher.config.num_samples > 1 else None,
        "inferred_by": teacher.client.config.llm_judge_model,
        "place": response.place,
    }


def _key(context: Sequence[Message], response: str) -> Hashable:
    turns = [[turn["role"], turn["content"]] for turn in context]
    return hashlib.blake2b(json.dumps([turns, response]).encode(), digest_size=16).digest()
