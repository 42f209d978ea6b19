"""A judge server for tests: real sockets and the OpenAI chat body, with set replies, latency and faults."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from open_instruct_flip.failures.proof import ANSWERED

TEXT = "write a short poem about the warm soil of spring and name three causes why it may be lost"
WORDS = TEXT.split()

Reply = Callable[[dict[str, Any]], str]
Fault = Callable[[int, dict[str, Any]], int | None]


def varied_reply(body: dict[str, Any]) -> str:
    """A reply that depends on the prompt alone: some of `WORDS`, as FLIP's judge would answer."""
    chosen = zlib.crc32(body["messages"][-1]["content"].encode())
    instruction = " ".join(word for bit, word in enumerate(WORDS) if chosen >> bit & 1)
    return json.dumps({"reasoning": "by the words", "instruction": instruction or WORDS[0]})


def reading_reply(body: dict[str, Any]) -> str:
    """A reply of a judge that can read: it knows the built-in responses, and of others makes a `varied_reply`."""
    shown = body["messages"][-1]["content"]
    known = (instruction for instruction, response in ANSWERED if response in shown)
    return next((json.dumps({"instruction": instruction}) for instruction in known), varied_reply(body))


class JudgeDouble:
    """An OpenAI-compatible server on loopback, in a thread of its own.

    Args:
        reply: The reply's text, or what makes it from the request's body.
        latency_s: Time each chat request takes.
        models: Names under `/v1/models`, or pairs of name and owner; None answers 500 there, as `transformers serve`
            may.
        about: Further fields of each model there, such as vLLM's `root` and `max_model_len`.
        api_key: Key that requests must carry.
        fault: HTTP status to fail a chat request with, from its number (from 0) and body; None lets it pass.

    Attributes:
        bodies: Bodies of all chat requests that came in; the last `keep` of them.
        num_requests: How many chat requests came in.
    """

    def __init__(
        self,
        reply: str | Reply = varied_reply,
        *,
        latency_s: float = 0.0,
        models: Sequence[str | tuple[str, str]] | None = ("judge",),
        about: dict[str, Any] | None = None,
        api_key: str | None = None,
        fault: Fault = lambda number, body: None,
        keep: int = 1000,
        port: int = 0,
    ) -> None:
        self.reply, self.latency_s, self.models, self.api_key, self.fault = reply, latency_s, models, api_key, fault
        self.about = about or {}
        self.bodies: list[dict[str, Any]] = []
        self.num_requests = 0
        self._keep = keep
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> JudgeDouble:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=10)
        return self

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
            self._loop.close()

    def __enter__(self) -> JudgeDouble:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        number, self.num_requests = self.num_requests, self.num_requests + 1
        self.bodies = [*self.bodies[1 - self._keep :], body] if len(self.bodies) >= self._keep else [*self.bodies, body]
        if self._refused(request):
            return _error(401, "wrong key")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        status = self.fault(number, body)
        if status is not None:
            return _error(status, f"set to answer {status}")
        text = self.reply if isinstance(self.reply, str) else self.reply(body)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return web.json_response(
            {
                "id": "chat-1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": index, **choice} for index in range(body.get("n") or 1)],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }
        )

    async def _models(self, request: web.Request) -> web.Response:
        if self._refused(request):
            return _error(401, "wrong key")
        if self.models is None:
            return _error(500, "no cache folder")
        pairs = [(model, "vllm") if isinstance(model, str) else model for model in self.models]
        entries = [{"id": name, "owned_by": owner, **self.about} for name, owner in pairs]
        return web.json_response({"object": "list", "data": entries})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    def _refused(self, request: web.Request) -> bool:
        return self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error", "code": status}}, status=status)
