"""An OpenAI-compatible judge server on loopback, in a process of its own: it waits, then gives one fixed reply.

Run by itself (`python benchmarks/loopback.py --port 8100 --latency_s 0.5`) it serves any client of a judge.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

REPLY = json.dumps(
    {
        "reasoning": "The response lists what a gardener does in early spring, so it was asked for such a list.",
        "instruction": "List what a gardener should do in early spring, and give one reason for each step.",
        "score": 7,
        # What Open Instruct's judge prompts ask for.
        "SCORE": 7,
        "REASONING": "It answers what was asked, in order, with a reason for each step.",
    }
)


def answer(model: str) -> bytes:
    """The HTTP answer to every request."""
    body = json.dumps(
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 420, "completion_tokens": 80, "total_tokens": 500},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Service:
    """How long replies take, and how many are made at once.

    Args:
        latency_s: Seconds that a reply takes, on average.
        spread: They are spread evenly over this share of the average, up and down.
        slots: Replies made at once, the others queue; 0 for any number.
        slow_factor: How many times as long replies take while it is slow.
    """

    def __init__(self, latency_s: float, spread: float, slots: int, slow_factor: float) -> None:
        self._latency_s, self._spread, self._slow_factor = latency_s, spread, slow_factor
        self._slots = asyncio.Semaphore(slots or sys.maxsize)
        self.is_slow = False

    async def take_time(self) -> None:
        async with self._slots:
            factor = self._slow_factor if self.is_slow else 1.0
            await asyncio.sleep(self._latency_s * factor * random.uniform(1 - self._spread, 1 + self._spread))

    def turn(self) -> None:
        """Become slow, or quick again."""
        self.is_slow = not self.is_slow


class Judge(asyncio.Protocol):
    """One connection. It reads as much HTTP as the clients here speak: requests with a Content-Length, kept alive."""

    def __init__(self, service: Service, reply: bytes) -> None:
        self.service, self.reply = service, reply
        self.received = bytearray()
        self.under_way: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        for task in self.under_way:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end]).lower()
            _, found, after = head.partition(b"content-length:")
            length = int(after.split(b"\r\n", 1)[0]) if found else 0
            if len(self.received) < end + 4 + length:
                return
            del self.received[: end + 4 + length]
            task = asyncio.get_running_loop().create_task(self.respond())
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)

    async def respond(self) -> None:
        await self.service.take_time()
        self.transport.write(self.reply)


@contextmanager
def loopback_judge(latency_s: float, model: str = "judge") -> Iterator[str]:
    """Start the server in a process of its own; its URL, ending in /v1."""
    command = [sys.executable, __file__, "--latency_s", str(latency_s), "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@click.command()
@click.option("--port", default=0, help="Port to listen on; 0 takes a free one.")
@click.option("--latency_s", default=0.5, help="Seconds until the reply.")
@click.option("--spread", default=0.0, help="Share of these by which they differ, up and down.")
@click.option("--slots", default=0, help="Replies made at once; 0 for any number.")
@click.option("--slow_factor", default=1.0, help="How many times as long they take between one SIGUSR1 and the next.")
@click.option("--model", default="judge", help="Name of the model in the reply.")
def main(port: int, latency_s: float, spread: float, slots: int, slow_factor: float, model: str) -> None:
    """Serve until stopped; the URL is the first line printed."""
    asyncio.run(serve(port, Service(latency_s, spread, slots, slow_factor), answer(model)))


async def serve(port: int, service: Service, reply: bytes) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, service.turn)
    server = await loop.create_server(lambda: Judge(service, reply), "127.0.0.1", port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main()
