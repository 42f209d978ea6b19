"""What a policy in training repeats of its instructions: measured, hidden from the judge where asked, warned of."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import fmean

from open_instruct_flip.conversation import Message
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.rewards import Reward
from open_instruct_flip.similarity.copying import CopyGuard, copy_rate, shown_to_judge

logger = logging.getLogger(__name__)

RECENT_RESPONSES = 256
ALARMING_RATE = 0.2
"""Answers seldom repeat 5 words in a row: before training, real policies were seen below 0.02."""


async def score_with_copy_rates(
    guard: OutageGuard, conversation: Sequence[Message], responses: Sequence[str], instruction: str, mode: CopyGuard
) -> tuple[list[Reward], list[float]]:
    """A group's rewards, responses judged as a copy guard shows them, and each response's copy rate.

    "penalize" changes no judgement: see `guarded`.

    Raises:
        JudgeUnusableError: No request to this judge can succeed.
        JudgeOutageError: The judge stayed down for too long.
    """
    rewards = await guard.score(conversation, [shown_to_judge(response, instruction, mode) for response in responses])
    return rewards, [copy_rate(response, instruction) for response in responses]


class CopyWatch:
    """Warns once when the mean copy rate of the last 256 responses is above 0.2.

    To repeat the instruction raises every reward by backward inference, and a policy finds that within some fifty
    steps.
    """

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=RECENT_RESPONSES)
        self._has_warned = False

    def note(self, rates: Iterable[float]) -> None:
        """Take in the copy rates of some responses; see `copy_rate`."""
        self._rates.extend(rates)
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
