"""Judges that look at one response at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message, hide_instruction
from open_instruct_flip.judges.asking import Question, ReplyJudge
from open_instruct_flip.judges.base import shared_by_twins
from open_instruct_flip.judges.contract import ReplyForm
from open_instruct_flip.rewards import Reward


class ResponseJudge(ReplyJudge):
    """A judge of single responses: what it is asked, how its reply is read, and what the readings amount to.

    Identical responses of a group are judged once.
    """

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        distinct = list(dict.fromkeys(responses))
        judged = await together(self.score_response(conversation, response) for response in distinct)
        return shared_by_twins(responses, dict(zip(distinct, judged, strict=True)))

    async def score_response(self, conversation: Sequence[Message], response: str) -> Reward:
        """Judge one response."""
        asked = await self.ask(self.question(conversation, [response]))
        if asked.failure:
            return asked.reward()
        return asked.reward(**await self.verdict(conversation, asked.readings))

    def question(self, conversation: Sequence[Message], responses: Sequence[str]) -> Question[Any]:
        shown = self._shown(conversation)
        reworded = self.reworded(shown, responses)
        return Question(
            responses, lambda text: self.build_messages(shown, text), self.parse, self.form(), reworded=reworded
        )

    def reworded(self, shown: Sequence[Message], responses: Sequence[str]) -> Question[Any] | None:
        """The question in other words, for a line that could not be read; None where there are none."""
        return None

    def _shown(self, conversation: Sequence[Message]) -> Sequence[Message]:
        """What the judge may see: the conversation, or its context alone where the instruction is to be inferred."""
        return conversation if self.sees_instruction else hide_instruction(conversation, self.target).context

    @abstractmethod
    def build_messages(self, shown: Sequence[Message], response: str) -> list[Message]:
        """The chat that asks about a response.

        Args:
            shown: The conversation; of a judge that does not see the instruction, only the other turns.
            response: The response, as far as it fits.
        """

    @abstractmethod
    def parse(self, reply: str) -> Any:
        """What one reply says; raises UnreadableReply where that is not sure."""

    @abstractmethod
    async def verdict(self, conversation: Sequence[Message], readings: Sequence[Any]) -> dict[str, Any]:
        """Fields of the reward, `score` in [0, 1] among them, from what could be read: one entry per reply."""

    def form(self) -> ReplyForm | None:
        """The JSON object that a reply is, which servers can open or force; None where it is free text."""
        return None
