"""The transport through litellm: any provider, `hosted_vllm/` first. The only file that knows litellm."""

from __future__ import annotations

import asyncio
import inspect
import os
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from types import ModuleType
from typing import Any

import aiohttp

from open_instruct_flip.client.config import HOSTED_VLLM, ClientConfig
from open_instruct_flip.client.http import open_session
from open_instruct_flip.client.request import (
    TEXT_FIELDS,
    ChatRequest,
    Completion,
    RequestFailed,
    read_completion,
    status_failure,
)
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.rewards import FailureKind


class LitellmTransport:
    """litellm on one event loop, with a session of ours under it wherever litellm takes one."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._session = open_session()
        self._clients: dict[str | None, dict[str, Any]] = {}

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send one request; see `Transport.complete`."""
        litellm = load_litellm()
        model = self._config.llm_judge_model
        where = endpoint or model
        if endpoint not in self._clients:
            self._clients[endpoint] = self._client_arguments(endpoint, where)
        arguments = {
            "model": model,
            "timeout": timeout_s,
            "max_retries": 0,
            "drop_params": True,
            **self._clients[endpoint],
            **request.parameters(),
            **_provider_fields(request, model),
        }
        try:
            if model.startswith(HOSTED_VLLM) and not _has_listeners(litellm):
                response = await litellm.completion(**arguments, **_unobserved(litellm, arguments))
            else:
                response = await litellm.acompletion(**arguments)
        except Exception as error:  # litellm raises its own classes, openai's, httpx's and plain ones
            raise _failure(error, where, model) from error
        return read_completion(_as_body(response), where=where)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    def _client_arguments(self, endpoint: str | None, where: str) -> dict[str, Any]:
        """How litellm reaches an endpoint: its URL, its key, and a client on our session."""
        litellm = load_litellm()
        model, key = self._config.llm_judge_model, self._config.api_key()
        arguments = {name: value for name, value in (("api_base", endpoint), ("api_key", key)) if value is not None}
        check_provider(model)
        if model.startswith(HOSTED_VLLM):
            _set_price(litellm, model)
            return arguments | _client_on(self._session, endpoint, key, where, model)
        if "shared_session" in inspect.signature(litellm.acompletion).parameters:
            return arguments | {"shared_session": self._session}
        return arguments


def check_provider(model: str) -> None:
    """Refuse a model whose provider litellm can't tell, since it would refuse every request.

    Raises:
        JudgeUnusableError: The name starts with no provider, and is none that litellm knows without one.
    """
    try:
        load_litellm().get_llm_provider(model)
    except Exception as error:  # its own class, which differs between versions
        raise JudgeUnusableError(
            f"--llm_judge_model {model!r} names no provider that litellm knows; "
            f"for a vLLM or other OpenAI-compatible server write {HOSTED_VLLM}{model}"
        ) from error


@lru_cache(maxsize=1)
def load_litellm() -> ModuleType:
    """Import litellm, once and at first use: it takes seconds, and would fetch a price list from the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _has_listeners(litellm: ModuleType) -> bool:
    """Whether anyone has asked litellm to report calls, or to answer them from its cache."""
    return any(getattr(litellm, name, None) for name in _LISTENERS)


_LISTENERS = (
    *("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback", "cache"),
    *("_async_input_callback", "_async_success_callback", "_async_failure_callback"),
)


def _unobserved(litellm: ModuleType, arguments: dict[str, Any]) -> dict[str, Any]:
    # With these, `completion` returns what `acompletion` awaits inside: the call without the price, the log entries and
    # the detour through a thread that are made for each call, three quarters of its CPU, though nobody reads them.
    log = litellm.Logging(
        model=arguments["model"],
        messages=arguments["messages"],
        stream=False,
        call_type="acompletion",
        start_time=datetime.now(),
        litellm_call_id="",
        function_id="",
    )
    return {"acompletion": True, "litellm_logging_obj": log}


def _client_on(
    session: aiohttp.ClientSession, endpoint: str | None, key: str | None, where: str, model: str
) -> dict[str, Any]:
    """The client that this litellm takes for hosted_vllm, on our session."""
    from open_instruct_flip.client.litellm_http import ExchangeHandler, ExchangeTransport

    major, minor = version("litellm").split(".")[:2]
    if (int(major), int(minor)) >= (1, 82):
        return {"client": ExchangeHandler(session, where=where, model=model)}

    import httpx
    import openai

    http_client = httpx.AsyncClient(transport=ExchangeTransport(session, where=where, model=model))
    key = key or "fake-api-key"  # litellm's own stand-in for no key
    client = openai.AsyncOpenAI(api_key=key, base_url=endpoint, max_retries=0, http_client=http_client)
    # The client has the key. Given to this litellm as well, it would stand in its debug log.
    return {"client": client, "api_key": None}


def _set_price(litellm: ModuleType, model: str) -> None:
    # A model without a price is looked for in litellm's whole price list, again for every answer.
    if model not in litellm.model_cost:
        free = {
            "litellm_provider": "hosted_vllm",
            "mode": "chat",
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
            "cache_creation_input_token_cost": 0,
            "cache_read_input_token_cost": 0,
        }
        litellm.register_model({model: free})


def _provider_fields(request: ChatRequest, model: str) -> dict[str, Any]:
    # Only vLLM and servers like it know these fields; others refuse the request over them.
    if request.extra_body and model.startswith(HOSTED_VLLM):
        return {"extra_body": request.extra_body}
    return {}


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
    ours = next((e for e in _causes(error) if isinstance(e, (RequestFailed, JudgeUnusableError))), None)
    if ours is not None:
        return ours
    if type(error).__name__ == "ContextWindowExceededError":
        return RequestFailed(FailureKind.CONTEXT_OVERFLOW, f"{where}: {_line(error)}")
    if type(error).__name__ == "Timeout" or _caused_by(error, TimeoutError):
        return RequestFailed(FailureKind.TIMEOUT, f"{where} did not answer in time", retryable=True)
    if _caused_by(error, (aiohttp.ClientConnectionError, ConnectionError)) or "ConnectError" in _chain(error):
        return RequestFailed(
            FailureKind.UNREACHABLE, f"no connection to {where}: {_line(_root(error))}", retryable=True
        )
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status_failure(status, _line(error), where=where, model=model, retry_after_s=_retry_after_s(error))
    return RequestFailed(FailureKind.SERVER_ERROR, f"{where}: {type(error).__name__}: {_line(error)}", retryable=True)


def _retry_after_s(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None


def _causes(error: BaseException) -> list[BaseException]:
    chain, current = [], error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__  # type: ignore[assignment]
    return chain


def _caused_by(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    return any(isinstance(cause, kinds) for cause in _causes(error) if not isinstance(cause, asyncio.CancelledError))


def _chain(error: BaseException) -> set[str]:
    return {type(cause).__name__ for cause in _causes(error)}


def _root(error: BaseException) -> BaseException:
    return _causes(error)[-1]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
