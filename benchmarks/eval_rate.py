"""Whether `flip eval run` keeps a judge server busy: its judgements per second against the server's own limit.

    python benchmarks/eval_rate.py --llmbar LLMBar --model hosted_vllm/judge --api_base http://127.0.0.1:8001/v1

The limit is what the same requests, recorded in a first run, take when a loop sends them that does nothing else, as
many in flight. Both are timed in turn; the first run has filled the server's prefix cache for both alike. The command
is timed as a user would, its checks of the server before the first judgement and its report included.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
from report import machine, show, write

from open_instruct_flip.client.direct_transport import DirectTransport
from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.commands.main import run as flip

GOAL = 0.9
"""Share of the server's limit that is aimed at."""


@click.command()
@click.option("--llmbar", type=click.Path(exists=True), required=True, help="A copy of princeton-nlp/LLMBar")
@click.option("--model", required=True, help="Judge model as litellm names it, hosted_vllm/<served name>")
@click.option("--api_base", required=True, help="URL of its server, ending in /v1")
@click.option("--judge", default="flip", show_default=True)
@click.option("--subset", default="Natural", show_default=True)
@click.option("--items", default=60, show_default=True, help="Pairs that are judged")
@click.option("--in_flight", default=64, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--out", default="runs/bench/eval_rate.json", show_default=True)
def main(
    llmbar: str, model: str, api_base: str, judge: str, subset: str, items: int, in_flight: int, rounds: int, out: str
) -> None:
    """Time both, in turn."""
    command = ["eval", "run", "llmbar", "--data", llmbar, "--judge", judge, "--subset", subset, "--limit", str(items)]
    command += ["--llm_judge_model", model, "--api_base", api_base, "--judge_transport", "direct"]
    command += ["--max_concurrency", str(in_flight), "--timeout_s", "600", "--max_tokens", "64"]
    with recording() as bodies:
        evaluate(command)
    pairs = [(evaluate(command), asyncio.run(send_all(api_base, model, bodies, in_flight))) for _ in range(rounds)]
    judgements = 2 * items
    rows = [
        {"round": number, "eval, judgements/s": judgements / ours, "limit": judgements / bare, "ratio": bare / ours}
        for number, (ours, bare) in enumerate(pairs, start=1)
    ]
    show(f"{judge}, {judgements} judgements, {len(bodies)} requests, {in_flight} in flight", rows)
    ratio = statistics.median(bare / ours for ours, bare in pairs)
    click.echo(f"median ratio {ratio:.3f}, aimed at {GOAL}")
    write(out, {"machine": machine(), "judge": judge, "requests": len(bodies), "rounds": rows, "ratio": ratio})


@contextlib.contextmanager
def recording() -> Iterator[list[dict[str, Any]]]:
    """The bodies of the requests that are sent within this block."""
    bodies: list[dict[str, Any]] = []
    complete = DirectTransport.complete

    async def recorded(self: Any, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        bodies.append({**request.parameters(), **(request.extra_body or {})})
        return await complete(self, request, endpoint, timeout_s)

    DirectTransport.complete = recorded  # type: ignore[method-assign]  # for this block
    try:
        yield bodies
    finally:
        DirectTransport.complete = complete  # type: ignore[method-assign]  # as it was before


def evaluate(command: list[str]) -> float:
    """Seconds that `flip eval run` takes into an empty folder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        code = flip([*command, "--out", str(Path(folder) / "out")])
        seconds = time.perf_counter() - started
    if code:
        raise click.ClickException(f"flip eval run ended with {code}")
    return seconds


async def send_all(api_base: str, model: str, bodies: list[dict[str, Any]], in_flight: int) -> float:
    """Seconds until the server has answered all of them."""
    left = iter(bodies)
    name = model.partition("/")[2]

    async def send() -> None:
        for body in left:
            async with session.post(f"{api_base}/chat/completions", json={"model": name, **body}) as response:
                response.raise_for_status()
                await response.read()

    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(in_flight)))
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
