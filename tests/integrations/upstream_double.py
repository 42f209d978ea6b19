"""Where Open Instruct's double lies, and a judge server on a real socket for it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from open_instruct_flip.failures.proof import ANSWERED

DOUBLE = Path(__file__).parent / "open_instruct_double"


def inferred(instruction: str) -> str:
    """A FLIP judge's reply."""
    return json.dumps({"reasoning": "it shows", "instruction": instruction})


def reads(body: dict[str, Any]) -> str:
    """The reply of a FLIP or pointwise judge that proves itself, and says one thing of all other responses."""
    shown = body["messages"][-1]["content"]
    known = [instruction for instruction, response in ANSWERED if response in shown] or ["say hi"]
    return json.dumps({"instruction": known[0], "score": 9 if known[0] in shown else 2})


class JudgeServer:
    """An OpenAI-compatible server in a thread. `reply` makes the answer's text, or a status, from a request's body."""

    def __init__(self, port: int = 0) -> None:
        self.reply: Callable[[dict[str, Any]], str | int] = reads
        self.bodies: list[dict[str, Any]] = []
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> JudgeServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close every connection and the port. Stopping twice is fine."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def prompts(self) -> list[str]:
        """The text of every request so far."""
        return ["\n".join(message["content"] for message in body["messages"]) for body in self.bodies]

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "judge", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        answer = self.reply(body)
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "told to fail"}}, status=answer)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
