"""FLIP: the judge reads only the response, infers its instruction, and token F1 with the true one is the reward.

Source: Small Reward Models via Backward Inference, arXiv 2602.13551.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from open_instruct_flip.conversation import Message, Target, hide_instruction
from open_instruct_flip.judges.asking import Question
from open_instruct_flip.judges.config import ReplyConfig
from open_instruct_flip.judges.contract import ReplyForm, text_form
from open_instruct_flip.judges.prompt import PromptFiles, PromptTemplate
from open_instruct_flip.judges.reply import UnreadableReply, inferred_instruction
from open_instruct_flip.judges.response import ResponseJudge
from open_instruct_flip.rewards import FailureKind, Reward
from open_instruct_flip.similarity.f1 import TokenF1, f1_score, is_scorable
from open_instruct_flip.similarity.measures import (
    DEFAULT_EMBEDDING_MODEL,
    SimilarityName,
    check_available,
    check_similarity,
    similarity,
    warn_where_words_mislead,
)

FIELD = "instruction"
"""The name of the inference in the reply's JSON."""


@dataclass(frozen=True)
class FlipConfig(ReplyConfig):
    """Options of the FLIP judge."""

    flip_target: Target = field(
        default="last_user",
        metadata={"help": "What is inferred: the last user turn, or the system prompt (the paper's reading)"},
    )
    similarity: SimilarityName = field(
        default="f1", metadata={"help": "How the inferred instruction is compared with the true one"}
    )
    embedding_model: str = field(
        default=DEFAULT_EMBEDDING_MODEL,
        metadata={"help": "Sentence-transformers model, a hub name or a folder, for --similarity embedding"},
    )
    embedding_device: str = field(
        default="cpu",
        metadata={"help": "Where the embedding model runs, such as cpu or cuda:1; a policy needs its GPU for itself"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_similarity(self.similarity)

    def likeness(self, inferred: str, instruction: str) -> float:
        """How alike the two are by the chosen measure, in [0, 1]."""
        return similarity(
            self.similarity,
            inferred,
            instruction,
            embedding_model=self.embedding_model,
            embedding_device=self.embedding_device,
        )


class FlipJudge(ResponseJudge):
    """Reward by backward inference; see `Judge` for the arguments.

    The judge's prompt is made from the earlier turns and the response; the instruction is not among the arguments
    of the method that makes it. An empty response says nothing of its instruction: 0.0, without a request.

    Example:
        >>> judge = FlipJudge(model="hosted_vllm/Qwen/Qwen3-4B", api_base="http://127.0.0.1:8001/v1")
        >>> judge.config.max_tokens
        512
    """

    name = "flip"
    config_class = FlipConfig
    config: FlipConfig
    sees_instruction = False
    infers_instruction = True
    writes_text = True
    nothing_said = Reward(score=0.0, precision=0.0, recall=0.0, empty=True)

    def check(self) -> None:
        super().check()
        check_available(self.config.similarity)

    def prompt_files(self) -> PromptFiles:
        if self.config.flip_target == "system":
            return PromptFiles("flip_system_target", frozenset({"response"}))
        return PromptFiles("flip", frozenset({"response"}), "FLIP")

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        instruction = hide_instruction(conversation, self.target).instruction
        if is_scorable(instruction):
            return None
        return Reward(
            error=FailureKind.UNSCORABLE_INSTRUCTION,
            detail=f"the instruction {instruction[:80]!r} has no word to compare with; drop it from the dataset",
        )

    def reworded(self, shown: Sequence[Message], responses: Sequence[str]) -> Question[str] | None:
        again = self.prompt.again
        if again is None or self.config.reasoning:
            return None
        form = text_form(FIELD, again.opening)
        return Question(responses, lambda text: _messages(again, form, shown, text), self.parse, form)

    def build_messages(self, shown: Sequence[Message], response: str) -> list[Message]:
        return _messages(self.prompt, self.form(), shown, response)

    def form(self) -> ReplyForm:
        return self.as_asked(text_form(FIELD, self.prompt.opening))

    def parse(self, reply: str) -> str:
        inferred = inferred_instruction(reply)
        # A model too small for the task answers with the prompt's worked example, whatever it was shown.
        if self.prompt.is_recited(inferred):
            raise UnreadableReply("the reply recites the judge's own prompt", reply)
        return inferred

    async def verdict(self, conversation: Sequence[Message], readings: Sequence[str]) -> dict[str, Any]:
        instruction = hide_instruction(conversation, self.target).instruction
        warn_where_words_mislead(self.config.similarity, instruction)
        overlaps = [f1_score(inferred, instruction) for inferred in readings]
        try:
            likeness: dict[str, Any] = {"score": await self._likeness(readings, instruction, overlaps)}
        except FloatingPointError as error:
            likeness = {"error": FailureKind.SERVER_ERROR, "detail": str(error)}
        return {
            **likeness,
            "inferred_instruction": readings[0],
            "precision": fmean(o.precision for o in overlaps),
            "recall": fmean(o.recall for o in overlaps),
        }

    async def _likeness(self, inferred: Sequence[str], instruction: str, overlaps: Sequence[TokenF1]) -> float:
        """Mean likeness of the inferred instructions to the true one."""
        name = self.config.similarity
        if name in TokenF1._fields:
            return fmean(getattr(overlap, name) for overlap in overlaps)
        # Other measures take milliseconds, and seconds to import; a policy engine may run on this event loop.
        return await asyncio.to_thread(lambda: fmean(self.config.likeness(one, instruction) for one in inferred))


def _messages(prompt: PromptTemplate, form: ReplyForm, shown: Sequence[Message], response: str) -> list[Message]:
    return prompt.messages(conversation=prompt.conversation(shown), response=response, answer=form.shown)
