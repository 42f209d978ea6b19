"""Whether a judge can be used at all, asked before any work: is it there, does it take the key, has it the model."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.client.config import HOSTED_VLLM, ClientConfig
from open_instruct_flip.client.litellm_transport import check_provider
from open_instruct_flip.client.local_model import check_model
from open_instruct_flip.client.together import together
from open_instruct_flip.client.urls import has_credentials, shown_url
from open_instruct_flip.errors import JudgeUnusableError

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
MAX_NAMES_SHOWN = 8
OPENAI_COMPATIBLE = (HOSTED_VLLM, "openai/")
"""Providers whose `api_base` has `/models` with the names that requests use."""

State = Literal["ready", "down", "refused", "no_model", "wrong_url"]


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What an endpoint answered.

    Attributes:
        url: Its URL, ending in /v1 as a rule, without a password.
        state: "ready"; "down": no answer, a later one may come; "refused": wrong or missing key; "no_model": it
            serves others; "wrong_url": a server without the OpenAI interface below this URL.
        problem: One line on what is wrong and what to do; empty when ready.
        model_names: Models it serves, or None where it does not say: `transformers serve` lists its download cache.
        latency_s: Seconds until the answer.
        identity: Which model it serves under the wanted name: that name, with where it was loaded from and its context
            length where the server says. Empty when not ready.
    """

    url: str
    state: State
    problem: str = ""
    model_names: tuple[str, ...] | None = None
    latency_s: float = 0.0
    identity: str = ""


def check_endpoints(config: ClientConfig) -> list[EndpointReport]:
    """`probe`, with what is found judged: see `require_usable`. For code without an event loop."""
    if config.judge_transport == "none":
        return []
    if config.in_process:
        check_model(config)
        return []
    reports = run_sync(probe(config))
    require_usable(reports)
    check_provider(config.llm_judge_model)
    return reports


def require_usable(reports: Sequence[EndpointReport]) -> None:
    """Raise JudgeUnusableError when no endpoint is there, or one refuses every request; warn of those that are down."""
    for report in reports:
        if report.state not in ("ready", "down"):
            raise JudgeUnusableError(report.problem)
    down = [report.problem for report in reports if report.state == "down"]
    if down and len(down) == len(reports):
        raise JudgeUnusableError("; ".join(down))
    for problem in down:
        logger.warning("%s; the other endpoints are used, and this one when it is back", problem)


async def probe(config: ClientConfig) -> list[EndpointReport]:
    """Ask every endpoint of a judge what it serves, all at once, within `PROBE_TIMEOUT_S`.

    Returns:
        One report per URL; none where the provider chooses the URL itself.

    Raises:
        UsageError: The configuration has no model or no URL, or names a key that is not set.
    """
    return await together(_report(url, config, PROBE_TIMEOUT_S) for url in config.endpoints() if url is not None)


def identities(reports: Sequence[EndpointReport]) -> list[str]:
    """The models that a judge's endpoints serve, each once, in alphabetical order; usually one."""
    return sorted({report.identity for report in reports if report.identity})


async def served_identity(config: ClientConfig, url: str | None, timeout_s: float) -> str | None:
    """The `identity` of one endpoint, or None where it can't be learned in time. A provider's is the model's name."""
    if url is None:
        return config.llm_judge_model
    report = await _report(url, config, min(timeout_s, PROBE_TIMEOUT_S))
    return report.identity or None


async def _report(url: str, config: ClientConfig, timeout_s: float) -> EndpointReport:
    key = config.api_key() or _openai_key(config.llm_judge_model)
    headers = {"Authorization": f"Bearer {key}"} if key and not has_credentials(url) else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        return await _ask(session, url, config, timeout_s)


async def _ask(session: aiohttp.ClientSession, url: str, config: ClientConfig, timeout_s: float) -> EndpointReport:
    started = time.perf_counter()
    where = shown_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _get(session, f"{url}/models")
            if status not in (200, 401, 403) and await _is_healthy(session, url):
                status, body = (404, None) if not url.endswith("/v1") else (200, None)
    except TimeoutError:
        problem = f"the judge at {where} does not answer within {timeout_s:g} s; see whether it is up and reachable"
        return EndpointReport(where, "down", problem)
    except (aiohttp.ClientError, OSError) as error:
        errno = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(errno) if errno else shown_url(str(error)) or type(error).__name__
        remedy = "start it with `flip serve judge MODEL`, or correct --api_base"
        return EndpointReport(where, "down", f"no judge at {where} ({reason}); {remedy}")
    return _read(where, status, body, config, time.perf_counter() - started)


def _read(url: str, status: int, body: Any, config: ClientConfig, latency_s: float) -> EndpointReport:
    """What an answer means for the requests to come."""
    if status in (401, 403):
        remedy = (
            f"{config.api_key_env}, which --api_key_env names, holds another key"
            if config.api_key_env
            else "name the environment variable that holds it with --api_key_env"
        )
        return EndpointReport(url, "refused", f"the judge at {url} refuses the API key ({status}); {remedy}", None)
    if status >= 500:
        return EndpointReport(url, "down", f"the judge at {url} answers {status}; it may still be loading its model")
    provider = next((p for p in OPENAI_COMPATIBLE if config.llm_judge_model.startswith(p)), None)
    if status != 200 and provider is not None:
        remedy = "--api_base ends in /v1 as a rule" if not url.endswith("/v1") else "correct --api_base"
        return EndpointReport(url, "wrong_url", f"no OpenAI-compatible server at {url} ({status}); {remedy}")
    names = _served_names(body)
    wanted = config.llm_judge_model.removeprefix(provider or "")
    if provider is not None and names is not None and wanted not in names:
        shown = ", ".join(names[:MAX_NAMES_SHOWN]) + (", ..." if len(names) > MAX_NAMES_SHOWN else "")
        remedy = f"set --llm_judge_model {provider}{names[0]}" if len(names) == 1 else "set --llm_judge_model to one"
        problem = f"the judge at {url} serves no {wanted!r} but {shown}; {remedy}, or correct --api_base"
        return EndpointReport(url, "no_model", problem, names, latency_s)
    return EndpointReport(url, "ready", "", names, latency_s, _identity(body, wanted) if names else wanted)


def _identity(body: Any, wanted: str) -> str:
    """A model with what tells it from another one of the same name, where the server says: vLLM does."""
    model: dict[str, Any] = next((entry for entry in body["data"] if entry.get("id") == wanted), {})
    known = [f"{name} {model[name]}" for name in ("root", "max_model_len") if model.get(name)]
    return f"{wanted} ({', '.join(known)})" if known else wanted


def _served_names(body: Any) -> tuple[str, ...] | None:
    """The names in an answer of `/models`, or None where it is none, or does not list what is served."""
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return None
    models = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if all(_is_cached_repository(model) for model in models):
        return None
    return tuple(model["id"] for model in models)


def _is_cached_repository(model: dict[str, Any]) -> bool:
    # `transformers serve` lists the hub's download cache, by author; it loads the model it is asked for.
    author, slash, _ = model["id"].rpartition("/")
    return model.get("owned_by") == (author if slash else "")


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """Status and JSON body, None where it is no JSON. Redirects are not followed: the key is meant for this URL."""
    async with session.get(url, allow_redirects=False) as answer:
        try:
            return answer.status, json.loads(await answer.read())
        except ValueError:
            return answer.status, None


async def _is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    status, _ = await _get(session, f"{url.removesuffix('/v1')}/health")
    return status == 200


def _openai_key(model: str) -> str | None:
    """The key that litellm takes from the environment by itself."""
    return os.environ.get("OPENAI_API_KEY") if model.startswith("openai/") else None
