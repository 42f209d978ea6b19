"""A request to a judge model and its answer, whatever carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import FlipError
from open_instruct_flip.rewards import FailureKind, Usage

CONTINUED_TURN = {"add_generation_prompt": False, "continue_final_message": True}
"""Fields of vLLM's body: the last message is an assistant's turn left open, which the answer goes on with."""

PROMPT_LOGPROBS = {"prompt_logprobs": 0, **CONTINUED_TURN}
"""Fields of vLLM's body that ask for the log-probabilities of the prompt's own tokens, the open last turn's among
them: no end-of-turn token follows it. Every transport that can answer this understands these fields."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion.

    Attributes:
        messages: The chat, a system message first where there is one.
        max_tokens: Tokens each answer may have.
        temperature: Sampling temperature.
        n: Answers wanted.
        seed: Sampling seed, or None.
        stop: Texts that end an answer, and are left out of it.
        response_format: An OpenAI `response_format`, or None for free text.
        extra_body: Further fields of the body that only some servers know.
    """

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.0
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None

    @property
    def reads_prompt(self) -> bool:
        """Whether it asks for the log-probabilities of the prompt's tokens."""
        return "prompt_logprobs" in (self.extra_body or {})

    def parameters(self) -> dict[str, Any]:
        """The request as keyword arguments of an OpenAI-style call, without the fields that are not set."""
        values: dict[str, Any] = {
            "messages": list(self.messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        optional = {
            "n": self.n if self.n > 1 else None,
            "seed": self.seed,
            "stop": list(self.stop) or None,
            "response_format": self.response_format,
        }
        return values | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Completion:
    """Answers to one request.

    Attributes:
        texts: The answers. Where a server put all text into its reasoning field, that text.
        finish_reasons: Why each answer ended, "stop" or "length" as a rule.
        usage: Tokens of the request, with all attempts counted as requests.
        latency_s: Seconds the successful request took.
        prompt_logprobs: Log-probabilities of the prompt's tokens in vLLM's form, where asked for: of each token a
            mapping from its id to `{"logprob": ..., "decoded_token": ...}`, or None where it has none. Of its last ones
            at least.
        answer_length: How many of them are the open last turn's, where the transport knows: the last ones.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    usage: Usage
    latency_s: float = 0.0
    prompt_logprobs: Sequence[Any] | None = None
    answer_length: int | None = None


class RequestFailed(FlipError):
    """A request that brought no completion.

    Attributes:
        kind: What went wrong.
        retryable: Whether the same request may succeed a moment later.
        retry_after_s: How long the server asked to wait, or None.
        requests: How many requests were sent in all.
    """

    def __init__(
        self, kind: FailureKind, detail: str, *, retryable: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.requests = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.detail), self.__dict__


TEXT_FIELDS = ("content", "reasoning_content", "reasoning")
"""Where an answer's text may stand, the usual place first: a reasoning parser may have moved all of it."""
BROKEN_OFF = frozenset({"abort", "error"})
"""Finish reasons of vLLM for an answer that it could not end."""


class Transport(Protocol):
    """Carries one request to one endpoint. It neither retries nor queues."""

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send the request.

        Raises:
            RequestFailed: It brought no completion.
            JudgeRefusedError: This endpoint refused the key, the model or the URL.
            JudgeUnusableError: No request to this judge can succeed.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def thinks(body: Mapping[str, Any]) -> bool:
    """Whether a request's body lets the model think before it answers."""
    return bool((body.get("chat_template_kwargs") or {}).get("enable_thinking"))


def read_completion(body: Any, *, where: str, thinking: bool) -> Completion:
    """A completion from the body of an OpenAI-style answer; `thinking` is what `thinks` said of its request.

    Raises:
        RequestFailed: The body is no chat completion, or holds no choice.
    """
    try:
        choices = body["choices"]
        finish_reasons = tuple(choice.get("finish_reason") or "" for choice in choices)
        texts = tuple(
            _text(choice["message"], end, thinking) for choice, end in zip(choices, finish_reasons, strict=True)
        )
        used = body.get("usage") or {}
        usage = Usage(used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0, 1)
    except (KeyError, TypeError, AttributeError) as error:
        raise RequestFailed(
            FailureKind.SERVER_ERROR,
            f"{where} answered with something that is no chat completion: {error!r}",
            retryable=True,
        ) from error
    broken = next((end for end in finish_reasons if end in BROKEN_OFF), None)
    if broken is not None:
        raise RequestFailed(FailureKind.SERVER_ERROR, f"{where} broke the answer off: {broken}", retryable=True)
    if not texts:
        raise RequestFailed(FailureKind.SERVER_ERROR, f"{where} answered without any choice", retryable=True)
    return Completion(texts, finish_reasons, usage, prompt_logprobs=body.get("prompt_logprobs"))


def _text(message: Any, finish_reason: str, thinking: bool) -> str:
    for field in TEXT_FIELDS:
        text = message.get(field)
        if isinstance(text, str) and text.strip():
            # Without its tag, a thought that was cut off would pass for an answer. A finished one that nothing follows
            # is the answer: with thinking switched off, a server's reasoning parser takes all of it for a thought.
            is_answer = field == TEXT_FIELDS[0] or (finish_reason == "stop" and not thinking)
            return text if is_answer else f"<think>{text}"
    return ""
