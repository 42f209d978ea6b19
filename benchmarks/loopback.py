"""An OpenAI-compatible judge server on loopback, in a process of its own: it waits, then gives one fixed reply.

Run by itself (`python benchmarks/loopback.py --port 8100 --latency_s 0.5`) it serves any client of a judge.
"""

from __future__ import annotations

import asyncio
import json
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


class Judge(asyncio.Protocol):
    """One connection. It reads as much HTTP as the clients here speak: requests with a Content-Length, kept alive."""

    def __init__(self, latency_s: float, reply: bytes) -> None:
        self.latency_s, self.reply = latency_s, reply
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end]).lower()
            _, found, after = head.partition(b"content-length:")
            length = int(after.split(b"\r\n", 1)[0]) if found else 0
            if len(self.received) < end + 4 + length:
                return
            del self.received[: end + 4 + length]
            asyncio.get_running_loop().call_later(self.latency_s, self.respond)

    def respond(self) -> None:
        if not self.transport.is_closing():
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
@click.option("--model", default="judge", help="Name of the model in the reply.")
def main(port: int, latency_s: float, model: str) -> None:
    """Serve until stopped; the URL is the first line printed."""
    asyncio.run(serve(port, latency_s, answer(model)))


async def serve(port: int, latency_s: float, reply: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Judge(latency_s, reply), "127.0.0.1", port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main()
