"""What stands where a group's judgements failed.

A failure of the call is nobody's doing, so it must move nothing: the mean of the rest is no advantage under centring.
A failure of the reply may be the response's doing, so it must not pay: it is worth what the group's worst was worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

from open_instruct_flip.errors import FlipError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.rewards import REPLY_FAILURES, Reward

NoReward = TypeVar("NoReward", bound=float | None)


def stand_ins(rewards: Sequence[Reward], config: FailureConfig, recent_mean: NoReward) -> list[float | NoReward]:
    """A group's scores, in order, failed ones replaced as `config` says.

    Args:
        rewards: Verdicts on the responses to one prompt.
        config: `on_unreadable` is the rule for failures of the reply, `on_failure` for those of the call and the input.
        recent_mean: Stands in where no response of the group has a score: the mean of the groups before it, in
            [0, 1], or None for a trainer that takes None for "no reward". Throughout, so that it teaches nothing.

    Raises:
        FlipError: A judgement failed and the rule for it is "raise".

    Example:
        >>> from open_instruct_flip.rewards import FailureKind
        >>> late, gibberish = Reward(error=FailureKind.TIMEOUT), Reward(error=FailureKind.UNREADABLE_REPLY)
        >>> stand_ins([Reward(score=0.25), late, Reward(score=0.75)], FailureConfig(), 0.5)
        [0.25, 0.5, 0.75]
        >>> stand_ins([Reward(score=0.25), gibberish, Reward(score=0.75)], FailureConfig(), 0.5)
        [0.25, 0.25, 0.75]
        >>> stand_ins([late, gibberish], FailureConfig(), None)
        [None, None]
    """
    lowest = min((reward.score for reward in rewards if reward.score is not None), default=None)
    known = [_known(reward, config, lowest) for reward in rewards]
    mean = recent_mean if lowest is None else fmean(score for score in known if score is not None)
    return [mean if score is None else score for score in known]


def _known(reward: Reward, config: FailureConfig, lowest: float | None) -> float | None:
    """A reward's score or its stand-in; None where the mean of the others' stands in."""
    if reward.score is not None:
        return reward.score
    option = "on_unreadable" if reward.error in REPLY_FAILURES else "on_failure"
    rule = getattr(config, option)
    if rule == "raise":
        raise FlipError(f"a judgement failed and --{option} is raise: {reward.error}: {reward.detail}")
    return {"zero": 0.0, "group_lowest": lowest}.get(rule)
