"""Pointwise LLM judge, the usual baseline: the judge reads instruction and response and gives a score of 1 to 10."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.contract import ReplyForm
from open_instruct_flip.judges.prompt import PromptFiles
from open_instruct_flip.judges.reply import pointwise_score
from open_instruct_flip.judges.response import ResponseJudge

FILES = PromptFiles("pointwise", frozenset({"instruction", "response"}), "llmjudge_pointwise_rating")
SCHEMA = {"score": {"type": "integer", "minimum": 1, "maximum": 10}}
FORM = ReplyForm(SCHEMA, '{"score": ...}', '{"score": ', ("}", ",", "\n"), "}", pattern="10|[1-9]")


class PointwiseJudge(ResponseJudge):
    """Reward = score / 10, the mean over `num_samples` replies; see `Judge` for the arguments."""

    name = "pointwise"

    def prompt_files(self) -> PromptFiles:
        return FILES

    def build_messages(self, shown: Sequence[Message], response: str) -> list[Message]:
        *turns, last = shown
        prompt = self.prompt
        return prompt.messages(
            conversation=prompt.conversation(turns),
            instruction=last["content"],
            response=response,
            answer=self.form().shown,
        )

    def form(self) -> ReplyForm:
        return self.as_asked(FORM)

    def parse(self, reply: str) -> float:
        return pointwise_score(reply)

    async def verdict(self, conversation: Sequence[Message], readings: Sequence[float]) -> dict[str, Any]:
        return {"score": fmean(readings)}
