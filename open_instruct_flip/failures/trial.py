"""A question that any judge can be asked, to see whether it judges at all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import REQUEST_FAILURES, Reward

QUESTION = "Name the capital of France and a river that flows through it."
RESPONSES = (
    "The capital of France is Paris, and the river Seine flows through it.",
    "Paris; the Seine.",
    "Paris is the capital. One of its rivers is the Bièvre, which runs underground today.",
)


async def trial(judge: Judge) -> list[Reward]:
    """A judge's rewards for three responses to one prompt, which suits every kind of judge and every target.

    Raises:
        JudgeUnusableError: No request to this judge can succeed.
    """
    # A cache must not answer in the judge's place, so no two trials are alike.
    system = f"You answer question {secrets.token_hex(4)} about geography in one sentence."
    turns: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": QUESTION}]
    return await judge.score(turns, RESPONSES)


def has_answered(rewards: Sequence[Reward]) -> bool:
    """Whether the judge stands behind one of these: an empty response has a score without asking anyone."""
    return any(reward.usage.requests and reward.error not in REQUEST_FAILURES for reward in rewards)


class SharedTrial:
    """One `trial` for all who want to know at the same time whether a judge answers."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._running: asyncio.Task[bool] | None = None
        self._waiting = 0

    async def is_answered(self, limit_s: float) -> bool:
        """Whether the judge answers within so many seconds."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._try())
        running = self._running
        self._waiting += 1
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(running)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            if not self._waiting:
                running.cancel()
                if self._running is running:
                    self._running = None

    async def _try(self) -> bool:
        try:
            return has_answered(await trial(self._judge))
        except JudgeUnusableError:
            return False
