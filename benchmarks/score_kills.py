"""`flip score` killed at random points, and with one of three servers stopped half-way: is every row there, once?

python benchmarks/score_kills.py [--rows 10000] [--latency_s 0.01]
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from loopback import loopback_judge
from report import machine, show

TOPICS = ("soil", "rivers", "bread", "a lighthouse", "early spring", "chess", "copper", "the moon", "paper", "ants")
TASKS = (
    "Write a poem about {}.",
    "List three facts about {}.",
    "Explain {} to a child.",
    "What should one know of {}?",
)


def write_rows(path: Path, count: int) -> None:
    """Rows of one response each; the loopback judge's one reply earns each task a reward of its own."""
    with path.open("w") as file:
        for number in range(count):
            prompt = TASKS[number % len(TASKS)].format(TOPICS[number % len(TOPICS)])
            file.write(json.dumps({"id": f"row-{number}", "prompt": prompt, "response": f"Response {number}."}) + "\n")


def start(source: Path, out: Path, *urls: str) -> subprocess.Popen[bytes]:
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", ",".join(urls), "--judge_transport", "direct"]
    command = [sys.executable, "-m", "open_instruct_flip", "score", str(source), str(out), *judge]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Exit code and peak memory in MB of a run that ends by itself."""
    _, status, used = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss / 1e3


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(partial: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while num_lines(partial) < count and process.poll() is None:
        time.sleep(0.02)


def verdicts(out: Path) -> list[tuple[Any, ...]]:
    rows = map(json.loads, out.read_bytes().splitlines())
    return [(row["id"], row["index"], row["reward"], row["error"]) for row in rows]


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Rows of one response each.")
@click.option("--latency_s", default=0.01, show_default=True, help="Time the judge takes for an answer.")
@click.option("--seed", type=int, help="Of the points at which the run is killed.")
def main(rows: int, latency_s: float, seed: int | None) -> None:
    """Score, kill, go on, compare."""
    points = random.Random(seed)
    report: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / "in.jsonl"
        write_rows(source, rows)
        url = stack.enter_context(loopback_judge(latency_s))

        def run(name: str, out: str, *urls: str) -> None:
            started = time.perf_counter()
            code, peak_mb = finish(start(source, folder / out, *urls))
            seconds = time.perf_counter() - started
            done = num_lines(folder / out)
            report.append({"run": name, "exit": code, "rows": done, "seconds": seconds, "peak MB": peak_mb})

        run("not killed", "whole.jsonl", url)
        partial, kept = folder / "killed.jsonl.partial", 0
        for number in range(1, 4):
            started = time.perf_counter()
            process = start(source, folder / "killed.jsonl", url)
            wait_for(partial, points.randint(kept + 1, kept + rows // 4), process)
            process.kill()
            code, seconds, kept = process.wait(), time.perf_counter() - started, num_lines(partial)
            report.append({"run": f"kill {number}", "exit": code, "rows": kept, "seconds": seconds, "peak MB": None})
        run("went on", "killed.jsonl", url)

        three = [loopback_judge(latency_s) for _ in range(3)]
        urls = [stack.enter_context(judge) for judge in three[:2]]
        with three[2] as stopping:
            started = time.perf_counter()
            process = start(source, folder / "three.jsonl", *urls, stopping)
            wait_for(folder / "three.jsonl.partial", rows // 2, process)
        code, peak_mb = finish(process)
        seconds, done = time.perf_counter() - started, num_lines(folder / "three.jsonl")
        report.append(
            {"run": "one of three stopped", "exit": code, "rows": done, "seconds": seconds, "peak MB": peak_mb}
        )

        wanted = verdicts(folder / "whole.jsonl")
        same = [verdicts(folder / name) == wanted for name in ("killed.jsonl", "three.jsonl")]
        left = sorted(path.name for path in folder.glob("*.partial*"))
    show(f"flip score, {rows:,} rows, judge latency {latency_s:g} s", report)
    print(f"killed three times: rows equal to those of the run not killed: {same[0]}")
    print(f"one of three servers stopped: equal: {same[1]}; files left behind: {left or 'none'}")
    print(json.dumps(machine()))
    sys.exit(not all(same) or bool(left))


if __name__ == "__main__":
    main()
