"""Judges whose model writes a reply: what is sent, how the reply is read, and what is left where it can't be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig, ReplyConfig
from open_instruct_flip.judges.reply import UnreadableReply
from open_instruct_flip.judges.shortening import fitted
from open_instruct_flip.rewards import FailureKind, Reward, Usage

Reading = TypeVar("Reading")
Schema = dict[str, Any]
BuildMessages = Callable[..., list[Message]]

IN_ANOTHER_FORM = "\n\nAnswer with the JSON object alone."
"""Ends the question when it is asked again because the first reply could not be read."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Reading]):
    """What came of one question about one or more responses.

    Attributes:
        readings: What could be read, one entry per readable reply; empty where the question failed.
        failure: The `error` and `detail` of the rewards where it failed; empty where something could be read.
        usage: What it cost.
        latency_s: Seconds that the last request took.
        reply: The first reply, or None.
        cut: For each response, whether its middle was cut out to fit.
    """

    readings: Sequence[Reading]
    failure: dict[str, Any]
    usage: Usage
    latency_s: float = 0.0
    reply: str | None = None
    cut: Sequence[bool] = ()

    def reward(self, number: int = 0, **verdict: Any) -> Reward:
        """The reward of the question's response of this number: the verdict, or the question's failure."""
        return Reward(
            **(self.failure or verdict),
            usage=self.usage,
            latency_s=self.latency_s,
            reply=self.reply,
            truncated=bool(self.cut) and self.cut[number],
        )


class ReplyJudge(Judge):
    """A judge whose model writes a reply. `ask_about` sends a question and reads what comes back."""

    config_class: ClassVar[type[JudgeConfig]] = ReplyConfig
    config: ReplyConfig

    async def ask_about(
        self,
        responses: Sequence[str],
        build_messages: BuildMessages,
        read: Callable[[str], Reading],
        schema: Schema | None = None,
    ) -> Asked[Reading]:
        """Ask one question about responses, and once more in another form where no reply to it can be read.

        Args:
            responses: The responses that the question shows; only they are ever shortened.
            build_messages: Makes the chat, called with the responses as they fit.
            read: Reads one reply; raises UnreadableReply.
            schema: Properties of the JSON object that the reply is, for servers that can force it.

        Raises:
            JudgeUnusableError: No request to this judge can succeed.
        """
        forced = self.config.json_schema
        first = await self._ask_once(responses, build_messages, read, schema if forced else None)
        if first.failure.get("error") not in _UNREAD:
            return first

        def again(*texts: str) -> list[Message]:
            *before, last = build_messages(*texts)
            return [*before, {"role": last["role"], "content": last["content"] + IN_ANOTHER_FORM}]

        second = await self._ask_once(responses, again, read, None if forced else schema)
        return replace(first if second.failure else second, usage=first.usage + second.usage)

    async def _ask_once(
        self,
        responses: Sequence[str],
        build_messages: BuildMessages,
        read: Callable[[str], Reading],
        schema: Schema | None,
    ) -> Asked[Reading]:
        try:
            completion, cut = await fitted(
                lambda *texts: self._send(build_messages(*texts), schema), responses, self.config.max_response_chars
            )
        except RequestFailed as error:
            return Asked([], {"error": error.kind, "detail": error.detail}, Usage(requests=error.requests))
        readings, unread = [], []
        for text in completion.texts:
            try:
                readings.append(read(text))
            except UnreadableReply as error:
                unread.append(error)
        failure = {} if readings else self._unreadable(unread[0], completion)
        return Asked(readings, failure, completion.usage, completion.latency_s, completion.texts[0], cut)

    def request(self, messages: Sequence[Message], schema: Schema | None) -> ChatRequest:
        """A chat with this judge's sampling settings; `schema` is what the server has to force."""
        config = self.config
        return ChatRequest(
            messages,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            n=config.num_samples,
            seed=config.seed,
            response_format=json_schema(schema) if schema else None,
            # The switch of Qwen3 and its kind; templates without it ignore the field.
            extra_body={"chat_template_kwargs": {"enable_thinking": config.thinking}},
        )

    async def _send(self, messages: Sequence[Message], schema: Schema | None) -> Completion:
        request = self.request(messages, schema)
        completion = await self.client.complete(request)
        if len(completion.texts) < request.n:
            raise JudgeUnusableError(
                f"the judge gave {len(completion.texts)} of the {request.n} replies asked for: its server ignores n, "
                "as `transformers serve` does; use vLLM, or --num_samples 1"
            )
        texts = tuple(_own_words(text, messages[-1]["content"]) for text in completion.texts)
        return replace(completion, texts=texts)

    def _unreadable(self, error: UnreadableReply, completion: Completion) -> dict[str, Any]:
        """The error of a reward whose replies could not be read."""
        spoke = any(text.strip() for text in completion.texts)
        cut = f"; cut off at max_tokens={self.config.max_tokens}" if "length" in completion.finish_reasons else ""
        kind = FailureKind.UNREADABLE_REPLY if spoke else FailureKind.EMPTY_REPLY
        return {"error": kind, "detail": f"{error}{cut}"}


_UNREAD = frozenset({FailureKind.UNREADABLE_REPLY, FailureKind.EMPTY_REPLY})


def _own_words(reply: str, prompt: str) -> str:
    """A reply without the prompt before it, which some servers return along: a response could speak for the judge."""
    return reply.rpartition(prompt)[2] if prompt else reply


def json_schema(schema: Schema) -> dict[str, Any]:
    """An OpenAI `response_format` that forces an object with exactly these properties, in this order."""
    body = {"type": "object", "properties": schema, "required": list(schema), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": body}}
