"""How many judges a run needs, where it becomes slow, and what judges that fail do to it: arithmetic and a simulation.

    python benchmarks/capacity.py size --rollouts_per_step 1024 --step_s 60 --read_per_s 50000 --write_per_s 5000
    python benchmarks/capacity.py tokens --llmbar LLMBar --tokenizer Qwen/Qwen2.5-0.5B-Instruct
    python benchmarks/capacity.py simulate --endpoints 10 --endpoints 100
    python benchmarks/capacity.py check

`check` foretells a run of four servers by the simulation, makes that run with the real client on real servers, each in
a process of its own, of which one becomes slow, one is killed and started again and one falls silent, and compares.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import loopback
from counted import Group, counted, mean_tokens
from judge_load import Fault, Outcome, Scenario, run
from report import machine, show, write
from simulated import simulate
from sizing import COSTS, PROMPT_TOKENS, Cost, Plan, Rollouts, cost

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.serve.ports import free_port

CPU_S = 0.0008
"""Of a request on the direct route, by `client.py`."""
TOLERANCE = 0.2


@click.group()
def main() -> None:
    """How many judges a run needs."""


@main.command()
@click.option("--judge", "judges", multiple=True, default=tuple(COSTS), type=click.Choice(list(COSTS)))
@click.option("--rollouts_per_step", default=1024, show_default=True, help="Prompts x samples.")
@click.option("--step_s", default=60.0, show_default=True, help="Seconds in which they are to be judged.")
@click.option("--group_size", default=8, show_default=True, help="Responses to each prompt.")
@click.option("--response", default=500.0, show_default=True, help="Tokens of a response, on average.")
@click.option("--reply", default=12.0, show_default=True, help="Tokens of a judge's reply.")
@click.option("--read_per_s", required=True, type=float, help="Prompt tokens per second that one endpoint reads.")
@click.option("--write_per_s", required=True, type=float, help="Tokens per second that one endpoint writes.")
@click.option("--latency_s", default=1.0, show_default=True, help="Seconds that a request takes under load.")
@click.option("--cpu_ms", default=1000 * CPU_S, show_default=True, help="The client's CPU for a request.")
@click.option("--endpoints", type=int, help="Endpoints that there are, to see what limits the run.")
@click.option("--processes", type=int, help="Client processes that there are.")
def size(
    judges: Sequence[str], rollouts_per_step: int, step_s: float, group_size: int, response: float, reply: float,
    read_per_s: float, write_per_s: float, latency_s: float, cpu_ms: float, endpoints: int | None,
    processes: int | None,
) -> None:  # fmt: skip
    """Endpoints and client processes that a run needs; by arithmetic alone."""
    texts = Rollouts(group_size, response=response, reply=reply)
    rate = rollouts_per_step / step_s
    rows = []
    for judge in judges:
        plan = Plan(rate, cost(judge, texts), read_per_s, write_per_s, latency_s, cpu_ms / 1000, slots_of(judge))
        limit, limit_per_s = plan.bottleneck(endpoints or plan.endpoints, processes or plan.processes)
        rows.append(
            {
                "judge": judge,
                "requests": plan.cost.requests,
                "prompt tokens": plan.cost.prompt_tokens,
                "reply tokens": plan.cost.reply_tokens,
                "rollouts/s of an endpoint": plan.endpoint_per_s,
                "endpoints": plan.endpoints,
                "client processes": plan.processes,
                "in flight": math.ceil(plan.in_flight),
                "limit": f"{limit}, {limit_per_s:.4g}/s",
            }
        )
    show(f"{rate:.4g} rollouts a second, loaded to {Plan.load:.0%}; costs are of a rollout", rows)


def slots_of(judge: str) -> int:
    """Requests in flight of a client process, at the client's default."""
    return ClientConfig.max_prompt_logprobs if judge == "likelihood" else ClientConfig.max_concurrency


@main.command()
@click.option("--llmbar", required=True, type=click.Path(exists=True, path_type=Path), help="A copy of LLMBar.")
@click.option("--tokenizer", required=True, help="The judge's tokenizer: a folder, or a name on the hub.")
@click.option("--groups", default=100, show_default=True, help="Pairs of responses, evenly from all subsets.")
def tokens(llmbar: Path, tokenizer: str, groups: int) -> None:
    """Count what each judge sends on LLMBar, and of it what is its prompt's own."""
    from transformers import AutoTokenizer

    from open_instruct_flip.eval.benchmarks.llmbar import LLMBar

    items = list(LLMBar().read(str(llmbar)))
    chosen: list[Group] = [(item.instruction, list(item.responses)) for item in items[:: len(items) // groups]]
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    texts = Rollouts(
        2, mean_tokens((text for text, _ in chosen), loaded), mean_tokens((r for _, of in chosen for r in of), loaded)
    )
    rows = [token_row(judge, asyncio.run(counted(judge, chosen, loaded, 2)), 2 * len(chosen), texts) for judge in COSTS]
    title = f"instruction {texts.instruction:.0f} tokens, response {texts.response:.0f}, {len(chosen)} pairs"
    show(f"{title}; of a rollout in a group of 2", rows)


def token_row(judge: str, used: Any, rollouts: int, texts: Rollouts) -> dict[str, Any]:
    """What was counted beside what the arithmetic says of it."""
    without: Cost = COSTS[judge](texts, 0.0)
    times = COSTS[judge](texts, 1.0).prompt_tokens - without.prompt_tokens
    own = (used.prompt_tokens / rollouts - without.prompt_tokens) / times
    return {
        "judge": judge,
        "requests": used.requests / rollouts,
        "by arithmetic": without.requests,
        "prompt tokens": used.prompt_tokens / rollouts,
        "its prompt's own": own,
        "in the arithmetic": PROMPT_TOKENS[judge],
    }


@main.command("simulate")
@click.option("--endpoints", "counts", multiple=True, type=int, default=(10, 100), show_default=True)
@click.option("--slots", default=4, show_default=True, help="Requests that an endpoint answers at once.")
@click.option("--service_s", default=2.0, show_default=True, help="Seconds that an answer takes.")
@click.option("--timeout_s", default=20.0, show_default=True, help="The client's time limit.")
@click.option("--duration_s", default=100.0, show_default=True, help="Simulated seconds.")
@click.option("--out", default="runs/bench/capacity.json", show_default=True, help="File for the results.")
def simulate_command(
    counts: Sequence[int], slots: int, service_s: float, timeout_s: float, duration_s: float, out: str
) -> None:
    """What failing endpoints do to a run: the real client on simulated servers."""
    rows = []
    for count in counts:
        in_flight = math.ceil(1.25 * count * slots)
        processes = math.ceil(in_flight / ClientConfig.max_concurrency)
        quiet = Scenario(
            count, slots, service_s, 0.5, processes=processes, in_flight=math.ceil(in_flight / processes),
            duration_s=duration_s, timeout_s=timeout_s,
        )  # fmt: skip
        for name, faults in troubles(count).items():
            started = time.process_time()
            outcome = simulate(replace(quiet, faults=faults), CPU_S)
            rows.append({"endpoints": count, "what happens": name, **outcome.figures()})
            click.echo(f"{count} endpoints, {name}: {time.process_time() - started:.0f} s of CPU", err=True)
    show(f"{slots} slots, {service_s:g} s an answer, time limit {timeout_s:g} s, {duration_s:g} s simulated", rows)
    write(out, {"machine": machine(), "table": rows})


def troubles(count: int) -> dict[str, list[Fault]]:
    """What may happen to a tenth of so many servers, or to all of them."""
    tenth, everyone = range(max(count // 10, 1)), range(count)
    return {
        "nothing": [],
        "a tenth slow": [Fault(20, n, "slow") for n in tenth],
        "a tenth dead": [Fault(20, n, "kill") for n in tenth],
        "a tenth dead for 40 s": [fault for n in tenth for fault in (Fault(20, n, "kill"), Fault(60, n, "start"))],
        "a tenth silent": [Fault(20, n, "hang") for n in tenth],
        "each dead for 10 s in turn": [
            fault
            for n in everyone
            for fault in (Fault(20 + 60 * n / count, n, "kill"), Fault(30 + 60 * n / count, n, "start"))
        ],
        "all dead for 20 s": [fault for n in everyone for fault in (Fault(20, n, "kill"), Fault(40, n, "start"))],
    }


class LoopbackServer:
    """A server on loopback in a process of its own, see `loopback.py`."""

    def __init__(self, url: str, scenario: Scenario) -> None:
        self._command = [sys.executable, loopback.__file__, "--port", str(urllib.parse.urlsplit(url).port)]
        self._command += ["--latency_s", str(scenario.service_s), "--spread", str(scenario.spread)]
        self._command += ["--slots", str(scenario.slots), "--slow_factor", str(scenario.slow_factor)]

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def slow(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    quicken = slow


@contextmanager
def loopback_servers(scenario: Scenario) -> Iterator[tuple[list[str], list[LoopbackServer]]]:
    """URLs and servers, which all listen by now."""
    urls = [f"http://127.0.0.1:{free_port('127.0.0.1')}/v1" for _ in range(scenario.servers)]
    servers = [LoopbackServer(url, scenario) for url in urls]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.process.stdout.readline()
        yield urls, servers
    finally:
        for server in servers:
            server.kill()


CHECKED = Scenario(
    servers=4, slots=8, service_s=1.5, spread=0.3, slow_factor=3.0, in_flight=48, duration_s=150.0, timeout_s=12.0,
    faults=(
        Fault(15, 0, "slow"), Fault(45, 0, "quicken"), Fault(24, 1, "kill"), Fault(60, 1, "start"),
        Fault(75, 2, "hang"), Fault(128.8, 2, "wake"),
    ),
)  # fmt: skip
"""Answers take so long that little hangs on how busy this machine is."""


@main.command()
@click.option("--seeds", default=5, show_default=True, help="Simulated runs; the median is foretold.")
@click.option("--out", default="runs/bench/capacity_check.json", show_default=True, help="File for the results.")
def check(seeds: int, out: str) -> None:
    """Foretell a run of four real servers, make it, and compare; exit code 1 where a figure is off."""
    foretold = medians([simulate(CHECKED, CPU_S, seed) for seed in range(seeds)])
    importlib.import_module("open_instruct_flip.client.direct_transport")  # the first request would wait for it
    with loopback_servers(CHECKED) as (urls, servers):
        measured = asyncio.run(run(CHECKED, urls, servers)).figures()
    rows = [comparison(name, value, measured[name]) for name, value in foretold.items()]
    show(f"four servers, {CHECKED.duration_s:g} s, {CHECKED.service_s:g} s an answer", rows)
    write(out, {"machine": machine(), "table": rows})
    sys.exit(any(row["within"] == "no" for row in rows))


def medians(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Each figure's median; what has happened in none is left out."""
    runs = [outcome.figures() for outcome in outcomes]
    known = {name: [run[name] for run in runs if run[name] is not None] for name in runs[0]}
    return {name: statistics.median(values) for name, values in known.items() if values}


def comparison(name: str, foretold: float, measured: float | None) -> dict[str, Any]:
    """A figure foretold and measured; where nothing is foretold, a fifth of it is nothing to go by."""
    off = math.inf if measured is None else abs(measured - foretold)
    within = "a fifth" if off <= TOLERANCE * foretold else "0.2" if off <= TOLERANCE else "no"
    return {"": name, "foretold": foretold, "measured": measured, "within": within}


if __name__ == "__main__":
    main()
