"""What a request must pass before it is looked at: key, size, deadline."""

from __future__ import annotations

import asyncio
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_instruct_flip.serve.reward.problems import Problem

OPEN = ("/health", "/docs", "/openapi.json")
"""Paths that ask for no key: they tell nothing of any request."""


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        key: What `Authorization: Bearer` must hold; None lets everybody in.
        max_bytes: Largest body.
        deadline_s: Seconds from a request's first byte to the beginning of its answer.
    """

    def __init__(self, app: ASGIApp, key: str | None, max_bytes: int, deadline_s: float) -> None:
        self._app = app
        self._bearer = None if key is None else f"Bearer {key}".encode()
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope) or await self._run(scope, receive, send)
        if problem is not None:
            await problem.response()(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        given = headers.get("authorization", "").encode("utf-8", "replace")
        if self._bearer and scope["path"] not in OPEN and not secrets.compare_digest(given, self._bearer):
            return Problem(401, "wrong_key", "send the server's key as Authorization: Bearer KEY")
        length = headers.get("content-length", "0")
        return self._too_large() if length.isdecimal() and int(length) > self._max_bytes else None

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> Problem | None:
        """Run the application; a problem where that was stopped before it had begun to answer."""
        answering = False

        async def noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            async with asyncio.timeout(self._deadline_s):
                body = await self._body(receive)
                if body is None:
                    return self._too_large()
                await self._app(scope, _replayed(body, receive), noted)
        except TimeoutError:
            if answering:
                raise
            told = f"no verdict within {self._deadline_s:g} s; send fewer groups, or raise --deadline_s"
            return Problem(504, "deadline", told)
        return None

    async def _body(self, receive: Receive) -> bytes | None:
        """The request's body; None where it is too large, which is seen before all of it is read."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_bytes:
                return None
        return bytes(body)

    def _too_large(self) -> Problem:
        limit = f"{self._max_bytes / 1e6:g} MB"
        return Problem(413, "too_large", f"the body is larger than {limit}; send fewer groups, or raise --max_body_mb")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
