"""What the reward server adds to its judge: CPU and time a rollout, and how many rollouts it holds at once.

    python benchmarks/reward_server.py --rollouts 2000 --group_size 8

A judge on loopback answers after a set time. The same groups are judged twice: by the judge's own client in this
process, and through `flip serve reward` in another. CPU is that of the process that judges; what the server costs is
the difference. Every request is sent at once, so that all rollouts are held together; with `--rate` they come evenly,
which is what the added time of a request is read from.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
from client import INSTRUCTION
from loopback import loopback_judge
from report import machine, show, write

from open_instruct_flip import FlipJudge
from open_instruct_flip.serve.ports import free_port

MODEL = "hosted_vllm/judge"
TICKS = os.sysconf("SC_CLK_TCK")
Ask = Callable[[list[str]], Awaitable[int]]
"""Has a group judged; how many of its responses got no reward."""


@contextmanager
def reward_server(judge_url: str, rollouts: int) -> Iterator[tuple[str, int]]:
    """URL and process id of a reward server."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "open_instruct_flip", "serve", "reward", "--port", str(port)]
    command += ["--llm_judge_model", MODEL, "--api_base", judge_url, "--judge_transport", "direct"]
    command += ["--max_concurrency", str(rollouts), "--max_rollouts", str(rollouts)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} never answered")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


async def measure(ask: Ask, groups: list[list[str]], pid: int, rate: float) -> dict[str, float]:
    """Have all groups judged, at once or so many rollouts a second."""
    times: list[float] = []

    async def timed(number: int, group: list[str]) -> int:
        await asyncio.sleep(number * len(group) / rate if rate else 0)
        started = time.perf_counter()
        failures = await ask(group)
        times.append(time.perf_counter() - started)
        return failures

    cpu = cpu_s(pid)
    failures = sum(await asyncio.gather(*(timed(number, group) for number, group in enumerate(groups))))
    count = sum(map(len, groups))
    quantiles = statistics.quantiles(times, n=100)
    return {
        "cpu_ms_per_rollout": 1000 * (cpu_s(pid) - cpu) / count,
        "p50_s": quantiles[49],
        "p99_s": quantiles[98],
        "failures": failures,
    }


async def directly(judge_url: str, groups: list[list[str]], warm: list[str], rate: float) -> dict[str, float]:
    judge = FlipJudge(MODEL, judge_url, judge_transport="direct", max_concurrency=sum(map(len, groups)))

    async def ask(group: list[str]) -> int:
        rewards = await judge.score([{"role": "user", "content": INSTRUCTION}], group)
        return sum(reward.score is None for reward in rewards)

    async with judge:
        await ask(warm)
        return await measure(ask, groups, os.getpid(), rate)


async def through_server(url: str, pid: int, groups: list[list[str]], warm: list[str], rate: float) -> dict[str, float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(group: list[str]) -> int:
            body = {"groups": [{"prompt": INSTRUCTION, "responses": group}]}
            async with session.post(f"{url}/v1/rewards", json=body) as answer:
                return 0 if answer.status == 200 else len(group)

        await ask(warm)
        return await measure(ask, groups, pid, rate)


@click.command()
@click.option("--rollouts", default=2000, show_default=True, help="Responses, all held at once.")
@click.option("--group_size", default=8, show_default=True, help="Responses in each request.")
@click.option("--rate", default=0.0, show_default=True, help="Rollouts a second; 0 sends all at once.")
@click.option("--latency_s", default=2.0, show_default=True, help="The judge's latency.")
@click.option("--repeats", default=3, show_default=True, help="Runs of each way; the table holds medians.")
@click.option("--out", default="runs/bench/reward_server.json", show_default=True, help="File for the results.")
def main(rollouts: int, group_size: int, rate: float, latency_s: float, repeats: int, out: str) -> None:
    """Compare the judge's client with the reward server before it."""
    text = " ".join(["prune the apple trees before the buds open so that cuts heal"] * 12)
    texts = [f"{number}. {text}" for number in range(rollouts)]
    groups = [texts[start : start + group_size] for start in range(0, rollouts, group_size)]
    warm = ["a response that is not counted"]
    runs: dict[str, list[dict[str, float]]] = {"judge's client": [], "reward server": []}
    with loopback_judge(latency_s) as judge_url, reward_server(judge_url, rollouts) as (url, pid):
        for _ in range(repeats):
            runs["judge's client"].append(asyncio.run(directly(judge_url, groups, warm, rate)))
            runs["reward server"].append(asyncio.run(through_server(url, pid, groups, warm, rate)))
    medians = {way: {name: statistics.median(run[name] for run in of) for name in of[0]} for way, of in runs.items()}
    rows: list[dict[str, Any]] = [{"way": way, **figures} for way, figures in medians.items()]
    pace = f"{rate:g} a second" if rate else "all at once"
    show(f"{rollouts} rollouts, {pace}, in groups of {group_size}, {latency_s:g} s latency", rows)
    settings = {
        "rollouts": rollouts,
        "group_size": group_size,
        "rate": rate,
        "latency_s": latency_s,
        "repeats": repeats,
    }
    write(out, {"machine": machine(), "settings": settings, "runs": runs, "medians": medians})


if __name__ == "__main__":
    main()
