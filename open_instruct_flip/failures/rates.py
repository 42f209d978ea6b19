"""How much failed: shares of judgements, and the window over which they are watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES, FailureKind, Reward


def failure_rates(rewards: Sequence[Reward]) -> dict[str, float]:
    """Shares of the judgements, in [0, 1], for logs: failed for any reason, by the call, by the reply.

    Example:
        >>> from open_instruct_flip.rewards import FailureKind
        >>> failure_rates([Reward(score=1.0), Reward(error=FailureKind.TIMEOUT)])
        {'failure_rate': 0.5, 'request_failure_rate': 0.5, 'parse_failure_rate': 0.0}
    """
    errors = [reward.error for reward in rewards]
    counts = {
        "failure_rate": sum(error is not None for error in errors),
        "request_failure_rate": sum(error in REQUEST_FAILURES for error in errors),
        "parse_failure_rate": sum(error in REPLY_FAILURES for error in errors),
    }
    return {name: count / len(rewards) if rewards else 0.0 for name, count in counts.items()}


def asked_errors(rewards: Sequence[Reward]) -> set[FailureKind | None]:
    """What became of the responses that a judge was asked about: the kinds of failures, and None for a score.

    The 0.0 of a response that says nothing, about which nobody was asked, tells nothing of the judge.
    """
    return {reward.error for reward in rewards if not reward.empty}


class _Count(NamedTuple):
    """Failures of the call and of the reply among a group's judgements. Faults of the input are not the judge's."""

    failed: int
    judged: int

    @classmethod
    def of(cls, rewards: Sequence[Reward]) -> _Count:
        return cls(sum(reward.error in REQUEST_FAILURES | REPLY_FAILURES for reward in rewards), len(rewards))


class FailureWindow:
    """Failed judgements over the last groups.

    Args:
        size: How many groups it holds. Until it is full it reports nothing.
        max_rate: Share of failed judgements, in [0, 1], above which there are too many.
    """

    def __init__(self, size: int, max_rate: float) -> None:
        self._groups: deque[_Count] = deque(maxlen=size)
        self._size = size
        self._max_rate = max_rate

    def add(self, rewards: Sequence[Reward]) -> None:
        """Take in a group's verdicts."""
        self._groups.append(_Count.of(rewards))

    def too_many_with(self, rewards: Sequence[Reward]) -> str | None:
        """What to say where too many judgements failed in this group and over the window that ends with it.

        In both, so that a judge that has recovered is not held up by its past.
        """
        groups = [*self._groups, _Count.of(rewards)][-self._size :]
        total = _Count(*map(sum, zip(*groups, strict=True)))
        if len(groups) < self._size or not (self._exceeds(total) and self._exceeds(groups[-1])):
            return None
        return f"{total.failed} of {total.judged} judgements failed over the last {len(groups)} groups"

    def _exceeds(self, count: _Count) -> bool:
        return count.failed > self._max_rate * count.judged
