"""FLIP: the judge reads only the response, infers its instruction, and token F1 with the true one is the reward.

Source: Small Reward Models via Backward Inference, arXiv 2602.13551.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

from open_instruct_flip.client.request import Completion
from open_instruct_flip.conversation import Message, hide_instruction
from open_instruct_flip.judges.base import ResponseJudge, readable
from open_instruct_flip.judges.reply import inferred_instruction
from open_instruct_flip.rewards import FailureKind, Reward
from open_instruct_flip.similarity.f1 import TokenF1, f1_score, is_scorable
from open_instruct_flip.similarity.measures import check_available, similarity

INSTRUCTION_SCHEMA = {"instruction": {"type": "string"}}
REASONED_SCHEMA = {"reasoning": {"type": "string"}, **INSTRUCTION_SCHEMA}


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

    def _check_config(self) -> None:
        super()._check_config()
        check_available(self.config.similarity)

    def _prompt_name(self) -> str:
        target = "_system_target" if self.config.flip_target == "system" else ""
        return f"flip{target}{'' if self.config.reasoning else '_direct'}"

    async def _score_response(self, conversation: Sequence[Message], response: str) -> Reward:
        instruction = hide_instruction(conversation, self.config.flip_target).instruction
        if not is_scorable(instruction):
            return Reward(
                error=FailureKind.UNSCORABLE_INSTRUCTION,
                detail=f"the instruction {instruction[:80]!r} has no word to compare with; drop it from the dataset",
            )
        if not response.strip():
            return Reward(score=0.0, precision=0.0, recall=0.0)
        return await super()._score_response(conversation, response)

    async def _ask_judge(self, conversation: Sequence[Message], response: str) -> tuple[Completion, bool]:
        return await self._infer(hide_instruction(conversation, self.config.flip_target).context, response)

    async def _infer(self, context: Sequence[Message], response: str) -> tuple[Completion, bool]:
        """Ask which instruction led to the response. The instruction itself can't be passed to this."""
        prompt = self._prompt()
        turns = prompt.conversation(context)
        completion, (truncated,) = await self._ask_about(
            [response],
            lambda text: prompt.messages(conversation=turns, response=text),
            REASONED_SCHEMA if self.config.reasoning else INSTRUCTION_SCHEMA,
        )
        return completion, truncated

    async def _verdict(self, conversation: Sequence[Message], replies: Sequence[str]) -> dict[str, Any]:
        instruction = hide_instruction(conversation, self.config.flip_target).instruction
        inferred = readable(replies, inferred_instruction)
        overlaps = [f1_score(one, instruction) for one in inferred]
        return {
            "score": await self._likeness(inferred, instruction, overlaps),
            "inferred_instruction": inferred[0],
            "precision": fmean(o.precision for o in overlaps),
            "recall": fmean(o.recall for o in overlaps),
        }

    async def _likeness(self, inferred: Sequence[str], instruction: str, overlaps: Sequence[TokenF1]) -> float:
        """Mean likeness of the inferred instructions to the true one."""
        name = self.config.similarity
        if name in TokenF1._fields:
            return fmean(getattr(overlap, name) for overlap in overlaps)
        # Other measures take milliseconds, and seconds to import; a policy engine may run on this event loop.
        compare = partial(similarity, name, embedding_model=self.config.embedding_model)
        return await asyncio.to_thread(lambda: fmean(compare(one, instruction) for one in inferred))
