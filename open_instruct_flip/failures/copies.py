"""A policy in training that has begun to repeat its instructions: noticed, and said once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from statistics import fmean

from open_instruct_flip.rewards import Reward

logger = logging.getLogger(__name__)

RECENT_RESPONSES = 256
ALARMING_RATE = 0.2
"""Answers seldom repeat 5 words in a row: before training, real policies were seen below 0.02."""


class CopyWatch:
    """Warns once when the mean copy rate of the last 256 responses is above 0.2.

    To repeat the instruction raises every reward by backward inference, and a policy finds that within some fifty
    steps.
    """

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=RECENT_RESPONSES)
        self._has_warned = False

    def note(self, rewards: Iterable[Reward]) -> None:
        """Take in what a judge said of some responses."""
        self._rates.extend(copy_rates(rewards))
        if self._has_warned or len(self._rates) < RECENT_RESPONSES:
            return
        mean = fmean(self._rates)
        if mean > ALARMING_RATE:
            self._has_warned = True
            logger.warning(
                "the policy repeats %.0f%% of its instructions' runs of 5 words in its last %d responses, which raises "
                "its reward without merit; a copy guard takes that away (copy_guard, --flip_copy_guard)",
                100 * mean,
                RECENT_RESPONSES,
            )


def copy_rates(rewards: Iterable[Reward]) -> list[float]:
    """The copy rates of those rewards that know theirs."""
    return [reward.copy_rate for reward in rewards if reward.copy_rate is not None]


def overlaps(rewards: Iterable[Reward]) -> list[float]:
    """How far the responses of those rewards that know it share their instruction's words, in whatever order."""
    return [reward.overlap for reward in rewards if reward.overlap is not None]
