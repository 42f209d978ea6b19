"""Groups in, verdicts out: each by the shared rules of failures, or with its problem in place of a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message, hide_instruction
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.copies import CopyWatch
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.failures.stand_ins import stand_ins
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import Reward
from open_instruct_flip.serve.reward.problems import Problem, RequestError, failed, raised


@dataclass(frozen=True, slots=True)
class AskedGroup:
    """A group to be judged.

    Attributes:
        id: What the trainer calls it, or its number.
        place: Where it stands in the request's body.
        conversation: Turns that end with the user turn that was answered.
        responses: The responses, their thinking removed.
    """

    id: str | int
    place: str
    conversation: list[Message]
    responses: list[str]


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """A group's rewards, and the scores that a trainer gets; or its problem, and no score.

    Attributes:
        rewards: The verdicts; none where judging raised.
        scores: In [0, 1], failed ones replaced by the shared rules; None throughout where there is a problem.
    """

    group: AskedGroup
    rewards: Sequence[Reward]
    scores: Sequence[float | None]
    problem: Problem | None = None

    def rows(self) -> list[dict[str, Any]]:
        """What `flip score` writes for each response, and its `score`."""
        pairs = zip(self.rewards, self.scores, strict=True)
        return [
            {"id": self.group.id, "index": index, "score": score, **reward.as_row()}
            for index, (reward, score) in enumerate(pairs)
        ]


class Judging:
    """Judges the groups of all requests of one process."""

    def __init__(self, judge: Judge, failures: FailureConfig) -> None:
        self.judge = judge
        self._failures = failures
        self._guard = OutageGuard(judge, failures, quiet=True)
        self._copying = CopyWatch()

    def check(self, group: AskedGroup) -> None:
        """Refuse a group that can't be judged, before any other of its request is.

        Raises:
            RequestError: With a 422.
        """
        try:
            hide_instruction(group.conversation, self.judge.target)
        except UsageError as error:
            raise RequestError(raised(error, group.place)) from error
        fault = self.judge.fault(group.conversation, group.responses)
        problem = fault and failed([fault], group.place)
        if problem:
            raise RequestError(problem)

    async def judge_all(self, groups: Sequence[AskedGroup]) -> list[JudgedGroup]:
        """Judge groups side by side; the problem of one leaves the others their rewards."""
        return await together(map(self._judge, groups))

    async def _judge(self, group: AskedGroup) -> JudgedGroup:
        rewards: list[Reward] = []
        try:
            rewards = await self._guard.score(group.conversation, group.responses)
            self._copying.note(rewards)
            problem = failed(rewards, group.place)
            if problem is None:
                return JudgedGroup(group, rewards, stand_ins(rewards, self._failures, None))
        except FlipError as error:
            problem = raised(error, group.place)
        return JudgedGroup(group, rewards, [None] * len(rewards), problem)
