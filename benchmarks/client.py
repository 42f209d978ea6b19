"""What judging costs the process that asks for it: this project, plain litellm, the openai client, Open Instruct.

    python benchmarks/client.py
    OPEN_INSTRUCT_DIR=~/open-instruct python benchmarks/client.py --rollouts 10000

A server on loopback answers every request after a set time. The ideal is latency x ceil(rollouts / in flight). CPU is
that of the calling process, all its threads included, over the whole run; every client runs in a process of its own,
after a group that is not counted. The time that the event loop was blocked is how late a timer on it came, each 5 ms.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
from loopback import loopback_judge
from report import machine, show, write

GROUP_SIZE = 8
TIMER_S = 0.005
INSTRUCTION = "List what I should do in my garden in early spring, with one reason for every step."
TEXT = "prune the apple trees before the buds open so that cuts heal and light reaches every branch of them"

Group = Callable[[list[str]], Awaitable[list[float | None]]]
"""Judges the responses of one group."""


def flip(url: str, in_flight: int, transport: str) -> Group:
    from open_instruct_flip import FlipJudge

    judge = FlipJudge("hosted_vllm/judge", url, max_concurrency=in_flight, judge_transport=transport)

    async def group(responses: list[str]) -> list[float | None]:
        rewards = await judge.score([{"role": "user", "content": INSTRUCTION}], responses)
        return [reward.score for reward in rewards]

    return group


def litellm_plain(url: str, in_flight: int) -> Group:
    import litellm

    slots = asyncio.Semaphore(in_flight)

    async def ask(response: str) -> float | None:
        async with slots:
            answer = await litellm.acompletion(
                model="hosted_vllm/judge", api_base=url, messages=prompt(response), max_tokens=512, temperature=0.0
            )
        return 0.7 if answer.choices[0].message.content else None

    return gathered(ask)


def openai_client(url: str, in_flight: int) -> Group:
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    slots = asyncio.Semaphore(in_flight)

    async def ask(response: str) -> float | None:
        async with slots:
            answer = await client.chat.completions.create(
                model="judge", messages=prompt(response), max_tokens=512, temperature=0.0
            )
        return 0.7 if answer.choices[0].message.content else None

    return gathered(ask)


def raw_aiohttp(url: str, in_flight: int) -> Group:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    slots = asyncio.Semaphore(in_flight)

    async def ask(response: str) -> float | None:
        body = {"model": "judge", "messages": prompt(response), "max_tokens": 512, "temperature": 0.0}
        async with slots, session.post(f"{url}/chat/completions", json=body) as answer:
            text = (await answer.json())["choices"][0]["message"]["content"]
        return 0.7 if text else None

    return gathered(ask)


def open_instruct(url: str, in_flight: int) -> Group:
    sys.path.insert(0, os.environ["OPEN_INSTRUCT_DIR"])
    os.environ |= {"HOSTED_VLLM_API_BASE": url, "LITELLM_MAX_CONCURRENT_CALLS": str(in_flight)}
    from open_instruct import context_window_checker
    from open_instruct.ground_truth_utils import LMJudgeVerifier, LMJudgeVerifierConfig

    # It loads the judge's tokenizer anew for every call, from the hub; that is left out, in its favour.
    context_window_checker.check_context_window_limit = lambda **_: True

    config = LMJudgeVerifierConfig(
        llm_judge_model="hosted_vllm/judge",
        llm_judge_max_tokens=512,
        llm_judge_max_context_length=32768,
        llm_judge_temperature=0.0,
        llm_judge_timeout=600,
        seed=1,
    )
    verifier = LMJudgeVerifier("quality", config)

    async def ask(response: str) -> float | None:
        result = await verifier.async_call([], response, "", f"user: {INSTRUCTION}")
        return result.score or None  # upstream scores a failed call 0.0

    return gathered(ask)


CLIENTS: dict[str, Callable[[str, int], Group]] = {
    "flip, direct": lambda url, n: flip(url, n, "direct"),
    "flip, litellm": lambda url, n: flip(url, n, "litellm"),
    "litellm.acompletion": litellm_plain,
    "openai": openai_client,
    "aiohttp, no judging": raw_aiohttp,
    "Open Instruct LMJudgeVerifier": open_instruct,
}
REFERENCE = "Open Instruct LMJudgeVerifier"


def prompt(response: str) -> list[dict[str, str]]:
    """A prompt of about FLIP's length, for the clients that know nothing of judges."""
    return [{"role": "system", "content": "Infer the instruction. " * 30}, {"role": "user", "content": response}]


def gathered(ask: Callable[[str], Awaitable[float | None]]) -> Group:
    async def group(responses: list[str]) -> list[float | None]:
        answers = await asyncio.gather(*(ask(response) for response in responses), return_exceptions=True)
        return [None if isinstance(answer, BaseException) else answer for answer in answers]

    return group


async def measure(client: str, url: str, rollouts: int, in_flight: int) -> dict[str, float]:
    """Judge `rollouts` different responses with a client, and take the time."""
    rng, words = random.Random(1), TEXT.split()
    texts = [f"{number}. {' '.join(rng.choices(words, k=150))}" for number in range(rollouts + GROUP_SIZE)]
    groups = [texts[start : start + GROUP_SIZE] for start in range(0, len(texts), GROUP_SIZE)]
    judge = CLIENTS[client](url, in_flight)
    await judge(groups.pop())
    delays_s: list[float] = []
    timer = asyncio.create_task(watch_loop(delays_s))
    wall, cpu = time.perf_counter(), time.process_time()
    scores = [score for group in await asyncio.gather(*map(judge, groups)) for score in group]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    timer.cancel()
    return {
        "wall_s": wall,
        "cpu_ms_per_rollout": 1000 * cpu / rollouts,
        "blocked_p99_ms": 1000 * statistics.quantiles(delays_s, n=100)[-1],
        "failures": scores.count(None),
    }


async def watch_loop(delays_s: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(TIMER_S)
        delays_s.append(max(time.perf_counter() - started - TIMER_S, 0.0))


def run_alone(client: str, url: str, rollouts: int, in_flight: int) -> dict[str, float]:
    """Measure a client in a process of its own."""
    command = [sys.executable, __file__, "--only", client, "--url", url]
    command += ["--rollouts", str(rollouts), "--in_flight", str(in_flight)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{client} failed:\n{run.stderr[-2000:]}")
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def median_run(runs: list[dict[str, float]]) -> dict[str, float]:
    """Each figure's median over the repetitions; of the failures, the sum."""
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return medians | {"failures": sum(run["failures"] for run in runs)}


@click.command()
@click.option("--rollouts", default=1000, show_default=True, help="Responses to judge.")
@click.option("--in_flight", default=256, show_default=True, help="Requests in flight.")
@click.option("--latency_s", default=0.5, show_default=True, help="The server's latency.")
@click.option("--repeats", default=3, show_default=True, help="Runs of each client; the table holds medians.")
@click.option("--client", "clients", multiple=True, help="Only these clients.", type=click.Choice(list(CLIENTS)))
@click.option("--out", default="runs/bench/client.json", show_default=True, help="File for the results.")
@click.option("--only", hidden=True)
@click.option("--url", hidden=True)
def main(
    rollouts: int, in_flight: int, latency_s: float, repeats: int, clients: tuple[str, ...], out: str,
    only: str | None, url: str,
) -> None:  # fmt: skip
    """Compare the clients of a judge server."""
    if only:
        print(json.dumps(asyncio.run(measure(only, url, rollouts, in_flight))))
        return
    names = [name for name in clients or CLIENTS if name != REFERENCE or os.environ.get("OPEN_INSTRUCT_DIR")]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with loopback_judge(latency_s) as server:
        for _ in range(repeats):  # in turns, so that other load on the machine meets all of them
            for name in names:
                runs[name].append(run_alone(name, server, rollouts, in_flight))
    ideal_s = latency_s * math.ceil(rollouts / in_flight)
    medians = {name: median_run(of_client) for name, of_client in runs.items()}
    reference = medians.get(REFERENCE, medians.get("litellm.acompletion"))
    rows: list[dict[str, Any]] = [
        {
            "client": name,
            "wall / ideal": figures["wall_s"] / ideal_s,
            "CPU ms per rollout": figures["cpu_ms_per_rollout"],
            "CPU / reference": figures["cpu_ms_per_rollout"] / reference["cpu_ms_per_rollout"] if reference else None,
            "loop blocked p99 ms": figures["blocked_p99_ms"],
            "failures": int(figures["failures"]),
        }
        for name, figures in medians.items()
    ]
    title = f"{rollouts} rollouts in groups of {GROUP_SIZE}, {in_flight} in flight, {latency_s:g} s latency"
    show(f"{title}; ideal {ideal_s:g} s; reference: {REFERENCE if REFERENCE in medians else 'litellm'}", rows)
    settings = {"rollouts": rollouts, "in_flight": in_flight, "latency_s": latency_s, "repeats": repeats}
    write(out, {"machine": machine(), "settings": settings, "ideal_s": ideal_s, "runs": runs, "table": rows})


if __name__ == "__main__":
    main()
