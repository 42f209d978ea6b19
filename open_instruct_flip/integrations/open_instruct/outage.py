"""Waiting for a judge that is down, instead of training on rewards that nobody gave."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean

from open_instruct_flip.errors import FlipError
from open_instruct_flip.integrations.open_instruct.options import TrainingConfig
from open_instruct_flip.rewards import FailureKind, Reward

logger = logging.getLogger(__name__)

HEALED_BY_WAITING = frozenset(
    {FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR}
)
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0

Ask = Callable[[Sequence[int]], Awaitable[list[Reward]]]
"""Judges the responses with these numbers and returns their rewards in that order."""


class JudgeOutageError(FlipError):
    """The judge stayed down, or kept failing, for longer than training waits."""


class OutageGuard:
    """Judges groups; where the judge is down, waits and judges what failed again.

    An outage is a group with a response for which the judge could not be reached, a group that failed as a whole
    for a reason that time can heal, or too many failures over the last groups, the one at hand among them: a judge
    that has recovered is not held up by its past. One slow or unreadable response among others is none: its
    sample is replaced (`--flip_on_failure`). Lives in the process that computes rewards; groups may be judged at
    the same time.
    """

    def __init__(self, training: TrainingConfig, judge: str) -> None:
        """`judge` names the model and its endpoints in messages."""
        self._training = training
        self._judge = judge
        self._window: deque[tuple[int, int]] = deque(maxlen=training.failure_window)
        self._means: deque[float] = deque(maxlen=training.failure_window)

    @property
    def recent_mean(self) -> float:
        """Mean score of the last groups, in [0, 1]; the middle of that range before the first."""
        return fmean(self._means) if self._means else 0.5

    def note_scores(self, scores: Sequence[float]) -> None:
        """Take in what a group's judged responses were given, for groups in which none is judged."""
        if scores:
            self._means.append(fmean(scores))

    async def judged(self, ask: Ask, num_responses: int) -> list[Reward]:
        """The group's rewards, those of a shorter outage included.

        Raises:
            JudgeOutageError: The outage lasted `--flip_outage_timeout_s`; the text names the judge and its last error.
            JudgeUnusableError: No request to this judge can succeed.
        """
        rewards = await ask(range(num_responses))
        if self._trouble(rewards):
            rewards = await self._wait_out(ask, rewards)
        self._window.append(_count(rewards))
        return rewards

    async def _wait_out(self, ask: Ask, rewards: list[Reward]) -> list[Reward]:
        now = asyncio.get_running_loop().time
        deadline, pause = now() + self._training.outage_timeout_s, FIRST_PAUSE_S
        while trouble := self._trouble(rewards):
            left = deadline - now()
            if left <= 0:
                raise JudgeOutageError(
                    f"training stops: {trouble} for {self._training.outage_timeout_s:g} s (--flip_outage_timeout_s); "
                    f"judge {self._judge}; last error: {_last_error(rewards)}"
                )
            logger.warning(
                "%s; judge %s; waiting %.0f s more at most; last error: %s",
                *(trouble, self._judge, left, _last_error(rewards)),
            )
            await asyncio.sleep(min(pause, left))
            rewards = await _ask_again(ask, rewards, limit_s=max(deadline - now(), pause))
            pause = min(2 * pause, MAX_PAUSE_S)
        logger.warning("the judge %s answers again; training goes on", self._judge)
        return rewards

    def _trouble(self, rewards: Sequence[Reward]) -> str | None:
        errors = [reward.error for reward in rewards]
        if FailureKind.UNREACHABLE in errors:
            return "the judge can't be reached"
        if errors and all(error in HEALED_BY_WAITING for error in errors):
            return "the judge failed a whole group"
        groups = [*self._window, _count(rewards)][-self._training.failure_window :]
        failed, judged = (sum(column) for column in zip(*groups, strict=True))
        full = len(groups) == self._training.failure_window
        if full and self._too_many(failed, judged) and self._too_many(*groups[-1]):
            return f"{failed} of {judged} judgements failed over the last {len(groups)} groups"
        return None

    def _too_many(self, failed: int, judged: int) -> bool:
        return failed > self._training.max_failure_rate * judged


async def _ask_again(ask: Ask, rewards: list[Reward], limit_s: float) -> list[Reward]:
    """The rewards with the failed ones judged again; as they were when that takes too long."""
    failed = [i for i, reward in enumerate(rewards) if reward.error]
    try:
        async with asyncio.timeout(limit_s):
            again = await ask(failed)
    except TimeoutError:
        return rewards
    renewed = dict(zip(failed, again, strict=True))
    return [renewed.get(i, reward) for i, reward in enumerate(rewards)]


def _count(rewards: Sequence[Reward]) -> tuple[int, int]:
    return sum(reward.error is not None for reward in rewards), len(rewards)


def _last_error(rewards: Sequence[Reward]) -> str:
    failed = [reward for reward in rewards if reward.error]
    return f"{failed[-1].error}: {failed[-1].detail}" if failed else "none in this group"
