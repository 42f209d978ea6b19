"""One chat completion over HTTP, and what each way to fail means. Both transports send their requests with it."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from open_instruct_flip.client.http_status import status_failure
from open_instruct_flip.client.request import Completion, RequestFailed, read_completion, thinks
from open_instruct_flip.client.urls import has_credentials
from open_instruct_flip.rewards import FailureKind

MAX_ANSWER_BYTES = 8 * 2**20
"""Longer answers are refused: 512 tokens are a few kilobytes, log-probabilities of a long prompt a few megabytes."""
KEEP_ALIVE_S = 3.0
"""Seconds that an unused connection is kept. vLLM's and most Python servers close theirs after 5, and a request that
meets the closing is reset, which has to be sent again: docs/verification.md has figures."""


def open_session() -> aiohttp.ClientSession:
    """A session without limits of its own; how much is in flight is the judge client's business.

    A pool that is smaller than the concurrency makes requests wait for a connection, and the wait count as timeout.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S), cookie_jar=aiohttp.DummyCookieJar()
    )


async def post_chat(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any], *, where: str
) -> Completion:
    """Send a chat request once; the time limit is the caller's.

    Args:
        session: What `open_session` gave.
        url: The full URL. Where it holds a password, that is sent instead of a key.
        headers: The key's header, and others.
        body: What becomes the JSON body.
        where: The endpoint, as messages name it.

    Raises:
        RequestFailed: No answer, too long a one, an error, or something that is no completion.
        JudgeRefusedError: The server knows no such model or URL, or refuses the key.
        JudgeUnusableError: The server can't do what is asked.
    """
    answer = await post_json(session, url, headers, body, where=where, model=body["model"])
    if "choices" not in answer:
        raise _no_completion(f"{where} answered with something that is no chat completion: {str(answer)[:120]!r}")
    return read_completion(answer, where=where, thinking=thinks(body))


async def post_json(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any], *, where: str, model: str
) -> dict[str, Any]:
    """Send a JSON body once and read the JSON object that comes back; see `post_chat`.

    Args:
        model: The judge model, as messages name it.
    """
    headers = {"Content-Type": "application/json", **headers}
    if has_credentials(url):
        del headers["Authorization"]
    sent = json.dumps(body)
    try:
        async with session.post(url, data=sent, headers=headers, timeout=_NO_LIMIT, allow_redirects=False) as answer:
            content = await _read(answer, where)
    except aiohttp.ClientPayloadError as error:
        raise _unreachable(f"{where} broke off in the middle of its answer", error) from error
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise _unreachable(f"no connection to {where}", error) from error
    except aiohttp.ClientError as error:
        raise _no_completion(f"{where} answered with broken HTTP: {error}") from error
    if answer.status != 200:
        wait_s = _retry_after_s(answer)
        raise status_failure(
            answer.status, content.decode("utf-8", "replace"), where=where, model=model, retry_after_s=wait_s
        )
    return _parse(content, where=where)


def _parse(content: bytes, *, where: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        shown = content[:120].decode("utf-8", "replace")
        raise _no_completion(f"{where} answered with something that is no JSON: {shown!r} ({error})") from error
    if not isinstance(answer, dict):
        shown = content[:120].decode("utf-8", "replace")
        raise _no_completion(f"{where} answered with something that is no chat completion: {shown!r}")
    return answer


_NO_LIMIT = aiohttp.ClientTimeout(total=None)


async def _read(answer: aiohttp.ClientResponse, where: str) -> bytes:
    """An answer's body, whatever length it declares."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            answer.close()
            raise RequestFailed(
                FailureKind.SERVER_ERROR, f"{where} answered with more than {MAX_ANSWER_BYTES >> 20} MiB"
            )
        parts.append(part)
    return b"".join(parts)


def _retry_after_s(answer: aiohttp.ClientResponse) -> float | None:
    try:
        return max(float(answer.headers.get("Retry-After", "")), 0.0)
    except ValueError:  # absent, or a date: the client's own wait will do
        return None


def _unreachable(what: str, error: BaseException) -> RequestFailed:
    return RequestFailed(FailureKind.UNREACHABLE, f"{what}: {error or type(error).__name__}", retryable=True)


def _no_completion(detail: str) -> RequestFailed:
    return RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True)
