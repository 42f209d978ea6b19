"""litellm's HTTP client with our exchange in it. Importing this file imports litellm."""

from __future__ import annotations

from typing import Any

import aiohttp
import httpx
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

from open_instruct_flip.client.http import parse_answer, post_chat


class ExchangeHandler(AsyncHTTPHandler):
    """Carries litellm's chat requests over an aiohttp session.

    litellm's own handler wraps aiohttp in httpx, which costs a fifth of a call, and sends a request again when its
    connection breaks, behind the back of whoever counts requests.
    """

    def __init__(self, session: aiohttp.ClientSession, *, where: str, model: str) -> None:
        super().__init__(shared_session=session)
        self._session, self._where, self._model = session, where, model

    async def post(self, url: str, data: Any = None, headers: dict[str, str] | None = None, **_: Any) -> httpx.Response:
        """Send a request; raises what `post_chat` raises, which litellm then wraps in errors of its own."""
        return await _exchange(self._session, url, data, headers or {}, where=self._where, model=self._model)


class ExchangeTransport(httpx.AsyncBaseTransport):
    """The same for litellm before 1.82, which sends hosted_vllm's requests through the openai package and its httpx."""

    def __init__(self, session: aiohttp.ClientSession, *, where: str, model: str) -> None:
        self._session, self._where, self._model = session, where, model

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; raises what `post_chat` raises, which openai and litellm then wrap."""
        headers = {name: request.headers[name] for name in ("authorization", "content-type")}
        body = await request.aread()
        return await _exchange(self._session, str(request.url), body, headers, where=self._where, model=self._model)


async def _exchange(
    session: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str], *, where: str, model: str
) -> httpx.Response:
    content = await post_chat(session, url, body, headers, where=where, model=model)
    parse_answer(content, where=where)
    return httpx.Response(200, content=content, headers=_JSON)


_JSON = {"content-type": "application/json"}
