"""A group of responses to one prompt, judged: from predictions to the scores that the optimiser sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from open_instruct_flip.errors import FlipError
from open_instruct_flip.integrations.open_instruct.copying import copy_rate, mask_copies
from open_instruct_flip.integrations.open_instruct.options import CopyGuard, OnFailure
from open_instruct_flip.rewards import Reward, with_stand_ins


@dataclass(frozen=True)
class JudgedGroup:
    """What became of one group.

    Attributes:
        instruction: The instruction, exactly.
        responses: The responses without their thinking sections, in the order of the samples.
        rewards: The judge's verdicts on them.
        scores: What the optimiser gets for them, in [0, 1], failures replaced.
        copy_rates: Share of the instruction's 5-grams in each response.
        context_matches: Whether the query held the instruction where it belongs, so that its rest is the context.
        measure: Name of the similarity that `rewards` hold, or None when the judge does not infer instructions.
    """

    instruction: str
    responses: Sequence[str]
    rewards: Sequence[Reward]
    scores: Sequence[float]
    copy_rates: Sequence[float]
    context_matches: bool
    measure: str | None = None


def shown_to_judge(response: str, instruction: str, guard: CopyGuard) -> str:
    """The response as the judge reads it."""
    return mask_copies(response, instruction) if guard == "mask" else response


def copy_rates(responses: Sequence[str], instruction: str) -> list[float]:
    """Share of the instruction's 5-grams in each response."""
    return [copy_rate(response, instruction) for response in responses]


def final_scores(
    rewards: Sequence[Reward],
    rates: Sequence[float],
    *,
    guard: CopyGuard,
    on_failure: OnFailure,
    recent_mean: float,
) -> list[float]:
    """One score per reward, in [0, 1], with the copy guard applied and failures replaced.

    A failure gets the mean of its group's valid scores, so that its advantage under centring is 0. A group
    without a valid score gets `recent_mean`, that of the groups before it, throughout: it teaches nothing either,
    and moves no average.

    Raises:
        FlipError: A judgement failed and `on_failure` is "raise".

    Example:
        >>> from open_instruct_flip.rewards import FailureKind, Reward
        >>> rewards = [Reward(score=0.2), Reward(error=FailureKind.TIMEOUT), Reward(score=0.6)]
        >>> final_scores(rewards, [0.0, 0.0, 0.5], guard="penalize", on_failure="group_mean", recent_mean=0.5)
        [0.2, 0.25, 0.3]
    """
    scores = [_guarded(reward, rate, guard) for reward, rate in zip(rewards, rates, strict=True)]
    if on_failure == "raise" and None in scores:
        failed = rewards[scores.index(None)]
        raise FlipError(f"a judgement failed and --flip_on_failure is raise: {failed.error}: {failed.detail}")
    if on_failure == "zero":
        return [score or 0.0 for score in scores]
    return with_stand_ins(scores, recent_mean)


def _guarded(reward: Reward, rate: float, guard: CopyGuard) -> float | None:
    if reward.score is None or guard != "penalize":
        return reward.score
    return reward.score * (1.0 - rate)
