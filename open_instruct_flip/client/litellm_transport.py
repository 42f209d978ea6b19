"""The transport through litellm, for any provider."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import aiohttp

from open_instruct_flip.client.config import HOSTED_VLLM, ClientConfig
from open_instruct_flip.client.http import open_session, post_chat
from open_instruct_flip.client.http_status import status_failure
from open_instruct_flip.client.litellm_internals import Provider, has_listeners, hosted_provider, load_litellm
from open_instruct_flip.client.request import (
    TEXT_FIELDS,
    ChatRequest,
    Completion,
    RequestFailed,
    read_completion,
    thinks,
)
from open_instruct_flip.client.urls import shown_url
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.rewards import FailureKind


class LitellmTransport:
    """litellm on one event loop, with a session of ours under it wherever litellm takes one.

    It says what to send to a hosted_vllm endpoint, and we send it. `acompletion` makes the call for other providers,
    where callbacks or litellm's cache want it, and where the installed version is not as expected.
    """

    def __init__(self, config: ClientConfig) -> None:
        check_provider(config.llm_judge_model)
        self._config = config
        self._session = open_session()
        self._providers: dict[str | None, Provider | None] = {}

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send one request; see `Transport.complete`."""
        where = shown_url(endpoint or self._config.llm_judge_model)
        provider = self._provider(endpoint)
        if provider is not None and not has_listeners():
            return await post_chat(self._session, provider.url, provider.headers, provider.body(request), where=where)
        arguments = self._arguments(request, endpoint) | {"timeout": timeout_s}
        try:
            response = await load_litellm().acompletion(**arguments)
        except Exception as error:  # litellm raises its own classes, openai's, httpx's and plain ones
            raise _failure(error, where, self._config.llm_judge_model) from error
        return read_completion(_as_body(response), where=where, thinking=thinks(request.extra_body or {}))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    def _provider(self, endpoint: str | None) -> Provider | None:
        if not self._config.hosted:
            return None
        if endpoint not in self._providers:
            model, key = self._config.llm_judge_model, self._config.api_key()
            self._providers[endpoint] = hosted_provider(model, endpoint, key)
        return self._providers[endpoint]

    def _arguments(self, request: ChatRequest, endpoint: str | None) -> dict[str, Any]:
        config = self._config
        optional: dict[str, Any] = {"api_base": endpoint, "api_key": config.api_key(), "shared_session": self._session}
        if config.hosted:  # only vLLM and servers like it know these fields; others refuse the request over them
            optional["extra_body"] = request.extra_body
        if "shared_session" not in inspect.signature(load_litellm().acompletion).parameters:
            del optional["shared_session"]
        given = {name: value for name, value in optional.items() if value is not None}
        return {"model": config.llm_judge_model, "max_retries": 0, "drop_params": True, **given, **request.parameters()}


def check_provider(model: str) -> None:
    """Refuse a model whose provider litellm can't tell, since it would refuse every request.

    Raises:
        JudgeUnusableError: The name starts with no provider, and is none that litellm knows without one.
    """
    if model.startswith(HOSTED_VLLM):
        return
    try:
        load_litellm().get_llm_provider(model)
    except Exception as error:  # its own class, which differs between versions
        raise JudgeUnusableError(
            f"--llm_judge_model {model!r} names no provider that litellm knows; "
            f"for a vLLM or other OpenAI-compatible server write {HOSTED_VLLM}{model}"
        ) from error


def _as_body(response: Any) -> dict[str, Any]:
    """What `read_completion` reads of an answer; a dump of the whole would cost as much as sending the request."""
    usage = getattr(response, "usage", None)
    return {
        "choices": [
            {
                "message": {field: getattr(choice.message, field, None) for field in TEXT_FIELDS},
                "finish_reason": choice.finish_reason,
            }
            for choice in response.choices
        ],
        "usage": {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")},
        "prompt_logprobs": getattr(response, "prompt_logprobs", None),
    }


def _failure(error: Exception, where: str, model: str) -> Exception:
    """The failure that an exception out of litellm stands for."""
    causes = _causes(error)
    names = {type(cause).__name__ for cause in causes}
    if type(error).__name__ == "ContextWindowExceededError":
        return RequestFailed(FailureKind.CONTEXT_OVERFLOW, f"{where}: {_line(error)}")
    if type(error).__name__ == "Timeout" or any(isinstance(cause, TimeoutError) for cause in causes):
        return RequestFailed(FailureKind.TIMEOUT, f"{where} did not answer in time", retryable=True)
    if any(isinstance(cause, _BROKEN) for cause in causes) or names & _BROKEN_IN_HTTPX:
        detail = f"no connection to {where}: {_line(causes[-1])}"
        return RequestFailed(FailureKind.UNREACHABLE, detail, retryable=True)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        said = shown_url(str(error))
        return status_failure(status, said, where=where, model=model, retry_after_s=_retry_after_s(error))
    detail = f"{where}: {type(error).__name__}: {_line(error)}"
    return RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True)


_BROKEN = (aiohttp.ClientConnectionError, ConnectionError)
_BROKEN_IN_HTTPX = {"ConnectError", "ReadError", "RemoteProtocolError"}


def _retry_after_s(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        if not isinstance(current, asyncio.CancelledError):
            chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _line(error: BaseException) -> str:
    return shown_url(" ".join(str(error).split())[:300])
