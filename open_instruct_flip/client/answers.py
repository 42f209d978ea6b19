"""How likely an assistant's answer is after a chat: the tokens of the answer, whatever server or model reads them.

Where the transport does not know which tokens are the answer's, as vLLM's `prompt_logprobs` does not say, a second
chat with an answer that begins with another character shows it: the two prompts are equal up to there. That is exact
for any tokenizer and chat template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from open_instruct_flip.client.chat_tokens import common_length, other_answer, pieces
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.kept import Kept
from open_instruct_flip.client.request import PROMPT_LOGPROBS, ChatRequest, Completion
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.rewards import Usage

CHATS_KEPT = 256


class Token(NamedTuple):
    """A token, its natural log-probability given those before it, and its text, where the server shows one."""

    token_id: int
    logprob: float
    text: str = ""


class Answer(NamedTuple):
    """An answer's tokens, and what it took beyond its own request to tell them from the chat's."""

    tokens: Sequence[Token]
    usage: Usage = Usage()


class AnswerReader:
    """Asks a judge's model for the log-probabilities of answers.

    Args:
        client: How it is reached.
        seed: Sent with each request.
        body: Further fields of each request's body.
    """

    def __init__(self, client: JudgeClient, seed: int | None, body: Mapping[str, Any]) -> None:
        self._client = client
        self._seed = seed
        self._body = dict(body)
        self._others: Kept[Completion] = Kept(CHATS_KEPT)

    async def ask(self, chat: Sequence[Message], answer: str) -> Completion:
        """Have a chat read that ends with this answer, left open.

        Raises:
            RequestFailed: No answer.
            JudgeUnusableError: No request to this judge can succeed.
        """
        messages = [*chat, Message(role="assistant", content=answer)]
        body = {**self._body, **PROMPT_LOGPROBS}
        return await self._client.complete(ChatRequest(messages, max_tokens=1, seed=self._seed, extra_body=body))

    async def tokens(
        self, completion: Completion, chat: Sequence[Message], answer: str, length: int | None = None
    ) -> Answer:
        """The answer's tokens out of what `ask` returned; their texts are pieces of the answer, see `pieces`.

        Args:
            completion: That.
            chat: The chat before the answer.
            answer: The answer.
            length: How many tokens it has, where another chat has shown it.

        Raises:
            RequestFailed: A second request was needed and failed.
            JudgeUnusableError: The server returned no log-probabilities, or the chat template drops the answer.
        """
        tokens = self._read(completion)
        length = completion.answer_length if completion.answer_length is not None else length
        if length is not None:
            return Answer(_as_pieces(tokens[-length:], answer))
        other = other_answer(answer)
        shown, new = await self._others.get(repr((chat, other)), lambda: self.ask(chat, other))
        start = common_length([t.token_id for t in tokens], [t.token_id for t in self._read(shown)])
        if not tokens[start:]:
            raise JudgeUnusableError(
                f"{self._client.config.llm_judge_model} has a chat template that leaves the assistant's last turn "
                "out; the likelihood judge can't use it"
            )
        return Answer(_as_pieces(tokens[start:], answer), shown.usage if new else Usage())

    def _read(self, completion: Completion) -> list[Token]:
        """The tokens that have a log-probability: a prompt's first has none."""
        if not completion.prompt_logprobs:
            raise JudgeUnusableError(
                f"{self._client.config.llm_judge_model} returned no prompt_logprobs; the likelihood judge needs a "
                "vLLM server, named as hosted_vllm/<served name>, or --judge_transport local with a model's folder"
            )
        of_each = (next(iter(token.items())) for token in completion.prompt_logprobs if token)
        return [
            Token(int(token_id), float(entry["logprob"]), entry.get("decoded_token") or "")
            for token_id, entry in of_each
        ]


def _as_pieces(tokens: Sequence[Token], answer: str) -> list[Token]:
    """The tokens with their pieces of the answer as texts; as they are where the server shows none."""
    texts = [token.text for token in tokens]
    if not any(texts):
        return list(tokens)
    return [token._replace(text=piece) for token, piece in zip(tokens, pieces(answer, texts), strict=True)]
