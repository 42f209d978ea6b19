"""Stage 1 of esfp: the judge's model writes how a response relates to its instruction."""

from __future__ import annotations

from collections.abc import Sequence

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.asking import Asked, Question, ReplyJudge
from open_instruct_flip.judges.contract import text_form
from open_instruct_flip.judges.prompt import PromptFiles
from open_instruct_flip.judges.reply import explanation
from open_instruct_flip.rewards import Reward

FILES = PromptFiles("esfp", frozenset({"instruction", "response"}))
FIELD = "explanation"
"""The name of the explanation in the reply's JSON."""


class Explainer(ReplyJudge):
    """Explains, and gives no rewards: what the judge and `flip esfp explain` share."""

    name = "esfp"
    writes_text = True

    def prompt_files(self) -> PromptFiles:
        return FILES

    async def explain(self, conversation: Sequence[Message], response: str) -> Asked[str]:
        """Ask how a response relates to its conversation; what can't be had is the result's `failure`.

        Raises:
            JudgeUnusableError: No request to this model can succeed.
        """
        return await self.ask(self.question(conversation, [response]))

    def question(self, conversation: Sequence[Message], responses: Sequence[str]) -> Question[str]:
        *turns, last = conversation
        prompt = self.prompt
        form = self.as_asked(text_form(FIELD, prompt.opening))

        def build_messages(response: str) -> list[Message]:
            return prompt.messages(
                conversation=prompt.conversation(turns),
                instruction=last["content"],
                response=response,
                answer=form.shown,
            )

        return Question(responses, build_messages, explanation, form)

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        raise NotImplementedError("an explainer gives no rewards; EsfpJudge does")
