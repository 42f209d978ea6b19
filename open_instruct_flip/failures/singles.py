"""The shared rules for trainers that hand over one response at a time, so that no group is seen as a whole."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.copies import CopyWatch
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.failures.stand_ins import stand_ins
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import Reward

PROMPTS = 1024
"""Prompts whose last rewards are kept."""
RESPONSES = 64
"""Rewards kept of each."""


class SinglesGuard:
    """An outage guard for single responses: those to the same prompt that this process has judged are their group.

    Args:
        judge: A judge that does not compare responses.
        config: What becomes of failures.

    Raises:
        UsageError: The judge compares responses.
    """

    def __init__(self, judge: Judge, config: FailureConfig) -> None:
        if judge.compares_group:
            raise UsageError(
                f"the {judge.name} judge compares responses, and this trainer hands them over one by one; "
                "take another judge, such as flip or pointwise"
            )
        self._guard = OutageGuard(judge, config)
        self._config = config
        self._copying = CopyWatch()
        self._groups: OrderedDict[str, deque[Reward]] = OrderedDict()

    async def score(self, conversation: Sequence[Message], response: str) -> tuple[float, Reward]:
        """A response's score, in [0, 1], a stand-in where judging failed; and the verdict itself.

        Raises:
            JudgeOutageError, JudgeUnusableError: As `OutageGuard.score`.
            FlipError: The judgement failed and the rule for it is "raise".
        """
        (reward,) = await self._guard.score(conversation, [response])
        self._copying.note([reward])
        # Before its group gets it: a failure that raises would raise for every later response as well.
        scores = self._guard.final_scores([reward])
        if reward.empty:  # it says nothing of what a judge thinks of this prompt's responses
            return scores[0], reward
        group = self._group(repr(conversation))
        group.append(reward)
        return stand_ins(list(group), self._config, self._guard.recent_mean)[-1], reward

    def _group(self, key: str) -> deque[Reward]:
        """The rewards of a prompt; those of the prompt that was asked for least lately give way."""
        group = self._groups.setdefault(key, deque(maxlen=RESPONSES))
        self._groups.move_to_end(key)
        if len(self._groups) > PROMPTS:
            self._groups.popitem(last=False)
        return group
