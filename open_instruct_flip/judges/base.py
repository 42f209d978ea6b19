"""What every judge shares: its configuration, its client, and how a response is made to fit."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Self, TypeVar

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.conversation import Message, check_conversation
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judges.config import MIN_RESPONSE_CHARS, JudgeConfig
from open_instruct_flip.judges.prompt import REQUIRED_FIELDS, Prompt, load_prompt
from open_instruct_flip.judges.reply import UnreadableReply
from open_instruct_flip.rewards import FailureKind, Reward, Usage
from open_instruct_flip.thinking import final_answer

Verdict = TypeVar("Verdict")

CUT = "\n[...]\n"
"""Stands where a response's middle was cut out."""


class Judge(ABC):
    """Turns a group, one conversation with n responses to it, into n rewards.

    Args:
        model: Judge model as litellm names it, such as "hosted_vllm/Qwen/Qwen3-4B".
        api_base: URL of its server, or several with commas; else `HOSTED_VLLM_API_BASE`.
        options: Any other field of `JudgeConfig` and `ClientConfig` by its name.

    Raises:
        UsageError: An option is unknown or its value can't work.
    """

    name: ClassVar[str]

    def __init__(self, model: str = "", api_base: str | None = None, **options: Any) -> None:
        of_judge = {f.name for f in fields(JudgeConfig)}
        of_client = {f.name for f in fields(ClientConfig)} - {"llm_judge_model", "api_base"}
        unknown = options.keys() - of_judge - of_client
        if unknown:
            known = ", ".join(sorted(of_judge | of_client))
            raise UsageError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; it has {known}")
        client = {k: v for k, v in options.items() if k in of_client}
        self._configure(
            JudgeConfig(**{k: v for k, v in options.items() if k in of_judge}),
            ClientConfig(llm_judge_model=model, api_base=api_base, **client),
        )

    @classmethod
    def from_config(cls, judge: JudgeConfig, client: ClientConfig) -> Self:
        """A judge from its two configurations, as the commands and the training adapters hold them."""
        made = cls.__new__(cls)
        made._configure(judge, client)
        return made

    def _configure(self, judge: JudgeConfig, client: ClientConfig) -> None:
        self.config = judge
        self.client = JudgeClient(client)
        self._check_config()

    def _check_config(self) -> None:
        """Refuse what this judge can't work with, here and not at the first reward."""
        if self._prompt_name() in REQUIRED_FIELDS:
            self._prompt()

    async def score(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """Judge the responses to a conversation.

        Args:
            conversation: Turns of `{"role", "content"}` that end with the user turn that was answered.
            responses: The responses, as text. Their thinking sections are not judged: see `final_answer`.

        Returns:
            One reward per response, in order. Where the judge failed, its `score` is None and `error` says why.

        Raises:
            UsageError: The conversation can't be judged.
            JudgeUnusableError: No request to this judge can succeed: no endpoint, unknown model, wrong key.
        """
        check_conversation(conversation)
        if isinstance(responses, str):
            raise UsageError("responses is a list of texts, got a single text; pass [response]")
        for number, response in enumerate(responses):
            if not isinstance(response, str):
                raise UsageError(f"response {number} is no text but {type(response).__name__}")
        return await self._score_group(conversation, [final_answer(response) for response in responses])

    def score_sync(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """`score` for code without an event loop, and for notebooks."""
        return run_sync(self.score(conversation, responses))

    async def aclose(self) -> None:
        """Close the judge's connections on the running event loop; they also close with the loop itself."""
        await self.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @abstractmethod
    async def _score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """Judge checked input."""

    def _prompt_name(self) -> str:
        """Name of the prompt files that this judge is asked with."""
        return self.name

    def _prompt(self) -> Prompt:
        return load_prompt(self._prompt_name(), self.config.prompt_dir)

    def _request(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> ChatRequest:
        """A prompt with this judge's sampling settings."""
        config = self.config
        return ChatRequest(
            messages,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            n=config.num_samples,
            seed=config.seed,
            response_format=json_schema(schema) if config.json_schema and schema else None,
            # The switch of Qwen3 and its kind; templates without it ignore the field.
            extra_body={"chat_template_kwargs": {"enable_thinking": config.thinking}},
        )

    def _unreadable(self, error: UnreadableReply, completion: Completion) -> dict[str, Any]:
        """The fields of a reward whose replies could not be read."""
        spoke = any(text.strip() for text in completion.texts)
        cut = f"; cut off at max_tokens={self.config.max_tokens}" if "length" in completion.finish_reasons else ""
        kind = FailureKind.UNREADABLE_REPLY if spoke else FailureKind.EMPTY_REPLY
        return {"error": kind, "detail": f"{error}{cut}"}

    async def _ask(self, messages: Sequence[Message], schema: dict[str, Any] | None = None) -> Completion:
        """Send a prompt.

        Raises:
            RequestFailed: It brought no answer.
            JudgeUnusableError: The server gives fewer replies than were asked for, as it does not know `n`.
        """
        request = self._request(messages, schema)
        completion = await self.client.complete(request)
        if len(completion.texts) < request.n:
            raise JudgeUnusableError(
                f"the judge gave {len(completion.texts)} of the {request.n} replies asked for: its server ignores n, "
                "as `transformers serve` does; use vLLM, or --num_samples 1"
            )
        texts = tuple(_own_words(text, messages[-1]["content"]) for text in completion.texts)
        return completion if texts == completion.texts else replace(completion, texts=texts)

    async def _ask_about(
        self,
        responses: Sequence[str],
        messages: Callable[..., Sequence[Message]],
        schema: dict[str, Any] | None = None,
    ) -> tuple[Completion, list[bool]]:
        """Ask about responses, with their middles cut out as far as the judge's context demands.

        Only responses are ever shortened, never the judge's own instructions.

        Args:
            responses: The responses that one prompt shows.
            messages: Makes the prompt; called with the shortened responses as its arguments.
            schema: Properties of the JSON object that the reply is, where the server is to force it.

        Returns:
            The answer, and for each response whether it was shortened.
        """
        limit, requests = self.config.max_response_chars or max(map(len, responses)), 0
        while True:
            texts = [shorten(response, limit) for response in responses]
            try:
                completion = await self._ask(messages(*texts), schema)
            except RequestFailed as error:
                error.requests += requests
                requests = error.requests
                limit = max(map(len, texts)) // 2
                if error.kind is not FailureKind.CONTEXT_OVERFLOW or limit < MIN_RESPONSE_CHARS:
                    raise
            else:
                shortened = [text != response for text, response in zip(texts, responses, strict=True)]
                if requests:
                    completion = replace(completion, usage=completion.usage + Usage(requests=requests))
                return completion, shortened


class ResponseJudge(Judge):
    """A judge that looks at one response at a time. Identical responses of a group are judged once."""

    async def _score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        distinct = list(dict.fromkeys(responses))
        judged = await asyncio.gather(*(self._score_response(conversation, response) for response in distinct))
        return shared_by_twins(responses, dict(zip(distinct, judged, strict=True)))

    async def _score_response(self, conversation: Sequence[Message], response: str) -> Reward:
        """Judge one response."""
        try:
            completion, truncated = await self._ask_judge(conversation, response)
        except RequestFailed as error:
            return failed_request(error)
        seen: dict[str, Any] = {
            "usage": completion.usage,
            "latency_s": completion.latency_s,
            "reply": completion.texts[0],
            "truncated": truncated,
        }
        try:
            return Reward(**await self._verdict(conversation, completion.texts), **seen)
        except UnreadableReply as error:
            return Reward(**self._unreadable(error, completion), **seen)

    @abstractmethod
    async def _ask_judge(self, conversation: Sequence[Message], response: str) -> tuple[Completion, bool]:
        """Ask about one response: the answers, and whether the response had to be shortened."""

    @abstractmethod
    async def _verdict(self, conversation: Sequence[Message], replies: Sequence[str]) -> dict[str, Any]:
        """The reward's fields that the replies amount to; raises UnreadableReply when none can be read."""


def readable(replies: Sequence[str], read: Callable[[str], Verdict]) -> list[Verdict]:
    """What can be read among several replies to one request; raises the first UnreadableReply when nothing can."""
    verdicts, unread = [], []
    for reply in replies:
        try:
            verdicts.append(read(reply))
        except UnreadableReply as error:
            unread.append(error)
    if not verdicts:
        raise unread[0]
    return verdicts


def _own_words(reply: str, prompt: str) -> str:
    """A reply without the prompt before it, which some servers return along: a response could speak for the judge."""
    return reply.rpartition(prompt)[2] if prompt else reply


def shorten(response: str, max_chars: int) -> str:
    """A response of about `max_chars` characters at most: its middle is cut, its beginning and its end stay.

    Example:
        >>> shorten("abcdefghij" * 10, 27)
        'abcdefghij\\n[...]\\nabcdefghij'
    """
    if len(response) <= max_chars:
        return response
    kept = max(max_chars - len(CUT), 2) // 2
    return response[:kept] + CUT + response[-kept:]


def failed_request(error: RequestFailed) -> Reward:
    """The reward that a failed request leaves: none, with its reason."""
    return Reward(error=error.kind, detail=error.detail, usage=Usage(requests=error.requests))


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAI `response_format` that forces an object with exactly these properties, in this order."""
    body = {"type": "object", "properties": schema, "required": list(schema), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": body}}


def shared_by_twins(responses: Sequence[str], judged: Mapping[str, Reward]) -> list[Reward]:
    """A group's rewards from those of its distinct responses; identical ones share a verdict, whose cost one bears."""
    rewards, seen = [], set()
    for response in responses:
        reward = judged[response]
        rewards.append(replace(reward, duplicate=True, usage=Usage(), latency_s=0.0) if response in seen else reward)
        seen.add(response)
    return rewards
