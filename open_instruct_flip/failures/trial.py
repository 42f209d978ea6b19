"""A question that any judge can be asked, to see whether it judges at all."""

from __future__ import annotations

import secrets

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import Reward

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
