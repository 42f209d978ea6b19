"""A judge server that misbehaves on demand, down to the bytes on the socket."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What the server does about one request; the connection is closed afterwards if it leaves it closed."""

INSTRUCTION = "name three causes of soil loss"
VERDICT = json.dumps({"reasoning": "by the words", "instruction": INSTRUCTION})


class MisbehavingJudge:
    """A server on loopback, on the running event loop.

    Args:
        *behaviours: What happens to the first requests, in order.
        then: What happens to all later ones.

    Attributes:
        bodies: JSON bodies of the requests that came in.
        headers: Their header lines.
    """

    def __init__(self, *behaviours: Behaviour, then: Behaviour | None = None, port: int = 0) -> None:
        self._behaviours = list(behaviours)
        self._then = then or answers()
        self.port = port
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> MisbehavingJudge:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Die: the port is closed, and so is every connection."""
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def received(self, count: int) -> None:
        """Wait until so many requests came in."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.bodies) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))
                self.bodies.append(json.loads(await reader.readexactly(int(length.split(":")[1]))))
                self.headers.append(head)
                async with self._news:
                    self._news.notify_all()
                behave = self._behaviours.pop(0) if self._behaviours else self._then
                await behave(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()


def completion(text: str | None = VERDICT, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": "j",
        "choices": [choice],
        "usage": usage,
    }


def http(body: bytes, status: str = "200 OK", content_type: str = "application/json", **headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sends(answer: bytes) -> Behaviour:
    """Write these bytes."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def gives(body: Any, status: str = "200 OK", content_type: str = "application/json", **headers: str) -> Behaviour:
    """Answer with a body, as it is or as JSON."""
    return sends(http(body if isinstance(body, bytes) else json.dumps(body).encode(), status, content_type, **headers))


def answers(text: str | None = VERDICT, finish_reason: str = "stop", **message: Any) -> Behaviour:
    """Answer as a judge does."""
    return gives(completion(text, finish_reason, **message))


def fails(status: int, message: str = "set to fail", **headers: str) -> Behaviour:
    """Answer with an error, in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": status}}).encode()
    return sends(http(body, f"{status} Set", **headers))


def resets(after: bytes = b"") -> Behaviour:
    """Reset the connection, after some bytes."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        if after:
            writer.write(after)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return behave


def tires(after_s: float) -> Behaviour:
    """Answer, and reset a connection that has lain idle for longer when its next request comes."""
    answered: dict[asyncio.StreamWriter, float] = {}

    async def behave(writer: asyncio.StreamWriter) -> None:
        is_tired = time.monotonic() - answered.get(writer, math.inf) > after_s
        await (resets() if is_tired else answers())(writer)
        answered[writer] = time.monotonic()

    return behave


def hangs_up(after: bytes) -> Behaviour:
    """Close the connection in good order, but before the answer is complete."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        writer.close()

    return behave


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


def trickles(answer: bytes, pause_s: float, parts: int) -> Behaviour:
    """Write an answer in small parts, with pauses."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        size = -(-len(answer) // parts)
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave
