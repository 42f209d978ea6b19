"""Waiting for a judge that is down, instead of going on with rewards that nobody gave."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from statistics import fmean

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.urls import shown_url
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import FlipError, JudgeRefusedError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.rates import FailureWindow, asked_errors
from open_instruct_flip.failures.stand_ins import stand_ins
from open_instruct_flip.failures.trial import SharedTrial, has_answered
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import REQUEST_FAILURES, FailureKind, Reward

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
OWN_FAULT_AFTER = 3
"""Attempts after which a group is suspected to be at fault itself: then the judge is asked something else. A group that
was rejected is suspected at once."""


class JudgeOutageError(FlipError):
    """The judge stayed down, or kept failing, for longer than the work waits."""


class OutageGuard:
    """A judge's patient side: judges groups, and where the judge is down, waits and judges what failed again.

    An outage is a group with a response for which the judge could not be reached, a group that failed as a whole for a
    reason that time can heal, or too many failures over the last groups (`FailureWindow`). One slow or unreadable
    response among others is none: a stand-in takes its place. Nor is a group that fails while the judge answers
    something else; where the group was rejected, that is asked at once. Lives in the process that hands out rewards;
    groups may be judged at the same time.

    Args:
        judge: The judge.
        config: How long to wait, and what becomes of failures.
        proven: Whether this judge is known to have answered, in whatever process: then a refusal (401, 403, 404) is an
            outage from the start, and not wrong use.
        quiet: Log the kind of an error only: its detail may quote the judge's words, and these the text it was shown.
    """

    def __init__(self, judge: Judge, config: FailureConfig, *, proven: bool = False, quiet: bool = False) -> None:
        self._judge = judge
        self._config = config
        self._proven = proven
        self._quiet = quiet
        self._window = FailureWindow(config.failure_window, config.max_failure_rate)
        self._means: deque[float] = deque(maxlen=config.failure_window)
        self._trial = SharedTrial(judge)
        self._silent_until = 0.0

    @property
    def recent_mean(self) -> float:
        """Mean score of the last groups, in [0, 1]; the middle of that range before the first."""
        return fmean(self._means) if self._means else 0.5

    def final_scores(self, rewards: Sequence[Reward]) -> list[float]:
        """A group's scores, in [0, 1], failed ones replaced: see `stand_ins`.

        Raises:
            FlipError: A judgement failed and the rule for it is "raise".
        """
        scores = stand_ins(rewards, self._config, self.recent_mean)
        valid = [reward.score for reward in rewards if reward.score is not None]
        if valid:
            self._means.append(fmean(valid))
        return scores

    async def score(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """As `Judge.score`, with the verdicts of a shorter outage included.

        Raises:
            JudgeOutageError: The outage lasted `outage_timeout_s`; the text names the judge and its last error.
            JudgeUnusableError: No request to this judge can succeed.
        """
        rewards = await self._ask(conversation, responses)
        if self._trouble(rewards):
            rewards = await self._wait_out(conversation, responses, rewards)
        self._window.add(rewards)
        return rewards

    async def _wait_out(
        self, conversation: Sequence[Message], responses: Sequence[str], rewards: list[Reward]
    ) -> list[Reward]:
        now = asyncio.get_running_loop().time
        deadline, pause, attempts = now() + self._config.outage_timeout_s, FIRST_PAUSE_S, 1
        answered = False  # something else, since this group was last asked
        while trouble := self._trouble(rewards):
            left = deadline - now()
            if left <= 0:
                raise JudgeOutageError(
                    f"{trouble} for {self._config.outage_timeout_s:g} s (--outage_timeout_s); "
                    f"judge {self._place}; last error: {_last_error(rewards)}"
                )
            if answered:
                logger.warning("%s answers, but not about one group: %s", self._place, self._told_error(rewards))
                return rewards
            rejected = _is_rejected(rewards)
            if attempts >= OWN_FAULT_AFTER or rejected:
                answered = await self._answers_others(rewards, left)
            if not answered:
                self._tell_waiting(trouble, left, rewards, until=now() + pause)
                await asyncio.sleep(min(pause, left))
                pause, attempts = min(2 * pause, MAX_PAUSE_S), attempts + 1
                if rejected and not self._window.too_many_with(rewards):
                    continue  # while all is rejected, the trial alone is repeated, for all groups together
            rewards = await self._ask_again(conversation, responses, rewards, limit_s=max(deadline - now(), pause))
        self._tell_back()
        return rewards

    async def _ask(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        try:
            rewards = await self._judge.score(conversation, responses)
        except JudgeRefusedError as error:
            if not self._proven:
                raise
            return [Reward(error=FailureKind.REFUSED, detail=str(error)) for _ in responses]
        self._proven = self._proven or has_answered(rewards)
        return rewards

    async def _ask_again(
        self, conversation: Sequence[Message], responses: Sequence[str], rewards: list[Reward], limit_s: float
    ) -> list[Reward]:
        """The rewards with the failed ones judged again; as they were when that takes too long."""
        whole_group = self._judge.compares_group  # part of a group would be compared with itself only
        numbers = [i for i, reward in enumerate(rewards) if reward.error or whole_group]
        try:
            async with asyncio.timeout(limit_s):
                again = await self._ask(conversation, [responses[i] for i in numbers])
        except TimeoutError:
            return rewards
        if whole_group:  # rewards of two comparisons don't go together
            return again if _num_failed(again) <= _num_failed(rewards) else rewards
        renewed = dict(zip(numbers, again, strict=True))
        return [renewed.get(i, reward) for i, reward in enumerate(rewards)]

    def _trouble(self, rewards: Sequence[Reward]) -> str | None:
        return _outage(rewards) or self._window.too_many_with(rewards)

    async def _answers_others(self, rewards: Sequence[Reward], limit_s: float) -> bool:
        """Whether the judge answers something else while it fails this group, and has not failed most others too."""
        return not self._window.too_many_with(rewards) and await self._trial.is_answered(limit_s)

    @property
    def _place(self) -> str:
        return judge_place(self._judge.client.config)

    def _tell_waiting(self, trouble: str, left_s: float, rewards: Sequence[Reward], until: float) -> None:
        """Say it once per pause, however many groups wait."""
        if self._silent_until <= asyncio.get_running_loop().time():
            self._silent_until = until
            logger.warning(
                "%s; judge %s; waiting %.0f s more at most; last error: %s",
                *(trouble, self._place, left_s, self._told_error(rewards)),
            )

    def _told_error(self, rewards: Sequence[Reward]) -> str:
        return _last_error(rewards).partition(":")[0] if self._quiet else _last_error(rewards)

    def _tell_back(self) -> None:
        if self._silent_until:
            self._silent_until = 0.0
            logger.warning("the judge %s answers again", self._place)


def judge_place(client: ClientConfig) -> str:
    """The judge model and where it is asked, for messages."""
    return f"{client.llm_judge_model} at {', '.join(shown_url(url or 'its provider') for url in client.endpoints())}"


def _outage(rewards: Sequence[Reward]) -> str | None:
    """What to say of a group whose failures look like a judge that is down."""
    errors = asked_errors(rewards)
    if FailureKind.UNREACHABLE in errors:
        return "the judge can't be reached"
    if not errors or not errors <= REQUEST_FAILURES:
        return None
    if _is_rejected(rewards):
        return "the judge rejects every request"
    if errors == {FailureKind.REFUSED}:
        return "the judge refuses the key, the model or the URL that it took before"
    return "the judge failed a whole group"


def _is_rejected(rewards: Sequence[Reward]) -> bool:
    """Whether a group failed as a whole, and requests were rejected: its own fault or the server's, who knows."""
    errors = asked_errors(rewards)
    return FailureKind.REJECTED in errors and errors <= REQUEST_FAILURES


def _num_failed(rewards: Sequence[Reward]) -> int:
    return sum(reward.error is not None for reward in rewards)


def _last_error(rewards: Sequence[Reward]) -> str:
    failed = [reward for reward in rewards if reward.error]
    return f"{failed[-1].error}: {failed[-1].detail}" if failed else "none in this group"
