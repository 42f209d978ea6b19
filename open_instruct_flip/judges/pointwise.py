"""Pointwise LLM judge, the usual baseline: the judge reads instruction and response and gives a score of 1 to 10."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from open_instruct_flip.client.request import Completion
from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.base import ResponseJudge, readable
from open_instruct_flip.judges.reply import pointwise_score

SCORE_SCHEMA = {"reasoning": {"type": "string"}, "score": {"type": "integer", "minimum": 1, "maximum": 10}}


class PointwiseJudge(ResponseJudge):
    """Reward = score / 10, the mean over `num_samples` replies; see `Judge` for the arguments."""

    name = "pointwise"

    async def _ask_judge(self, conversation: Sequence[Message], response: str) -> tuple[Completion, bool]:
        prompt = self._prompt()
        turns = prompt.conversation(conversation[:-1])
        instruction = conversation[-1]["content"]
        completion, (truncated,) = await self._ask_about(
            [response],
            lambda text: prompt.messages(conversation=turns, instruction=instruction, response=text),
            SCORE_SCHEMA,
        )
        return completion, truncated

    async def _verdict(self, conversation: Sequence[Message], replies: Sequence[str]) -> dict[str, Any]:
        return {"score": fmean(readable(replies, pointwise_score))}
