"""`flip score` killed at random points, and with one of three servers stopped half-way: is every row there, once?

    python benchmarks/score_kills.py
    python benchmarks/score_kills.py --vllm_python ~/vllm/bin/python         # real vLLM servers with the local judge

Rows are responses of the instruction world. Rewards must equal those of a run that was not killed; a real server's
arithmetic depends on what else is in a batch, so that a hundredth of them may differ there.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from local_vllm import vllm_judge
from loopback import loopback_judge
from report import machine, show

from open_instruct_flip.local import examples, world


def write_rows(path: Path, count: int) -> None:
    """Rows of one response each: some follow their instruction, most miss part of it."""
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(count):
            spec = rng.choice(world.all_specs())
            response = world.respond(examples.mutated(spec, rng, rng.randint(0, 3)), rng)
            row = {"id": f"row-{number}", "prompt": world.instruction(spec), "response": response}
            file.write(json.dumps(row) + "\n")


@contextmanager
def judge_server(vllm_python: str | None, latency_s: float) -> Iterator[str]:
    """URL of a judge: the double, or a real vLLM server."""
    if vllm_python is None:
        with loopback_judge(latency_s) as url:
            yield url
        return
    with vllm_judge(vllm_python) as server:
        yield server.api_base


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


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_bytes().splitlines()]


def share_equal(out: Path, wanted: list[dict[str, Any]]) -> float:
    """Share of the rows with the wanted reward and error; 0 where a row is missing, twice there or out of place."""
    rows = rows_of(out)
    if [(row["id"], row["index"]) for row in rows] != [(row["id"], row["index"]) for row in wanted]:
        return 0.0
    equal = [(a["reward"], a["error"]) == (b["reward"], b["error"]) for a, b in zip(rows, wanted, strict=True)]
    return sum(equal) / len(equal)


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Rows of one response each.")
@click.option("--latency_s", default=0.01, show_default=True, help="Time the judge takes for an answer.")
@click.option("--vllm_python", help="Python of an environment with vLLM: real servers in place of the double.")
@click.option("--seed", type=int, help="Of the points at which the run is killed.")
def main(rows: int, latency_s: float, vllm_python: str | None, seed: int | None) -> None:
    """Score, kill, go on, compare."""
    points = random.Random(seed)
    report: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / "in.jsonl"
        write_rows(source, rows)
        url = stack.enter_context(judge_server(vllm_python, latency_s))

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

        second = stack.enter_context(judge_server(vllm_python, latency_s))
        with judge_server(vllm_python, latency_s) as stopping:
            started = time.perf_counter()
            process = start(source, folder / "three.jsonl", url, second, stopping)
            wait_for(folder / "three.jsonl.partial", rows // 2, process)
        code, peak_mb = finish(process)
        seconds, done = time.perf_counter() - started, num_lines(folder / "three.jsonl")
        report.append(
            {"run": "one of three stopped", "exit": code, "rows": done, "seconds": seconds, "peak MB": peak_mb}
        )

        wanted = rows_of(folder / "whole.jsonl")
        killed, three = (share_equal(folder / name, wanted) for name in ("killed.jsonl", "three.jsonl"))
        left = sorted(path.name for path in folder.glob("*.partial*"))
    kind = "vLLM servers" if vllm_python else f"judge latency {latency_s:g} s"
    show(f"flip score, {rows:,} rows, {kind}", report)
    scored = [row["reward"] for row in wanted if row["error"] is None]
    print(f"not killed: {len(wanted) - len(scored)} failures, mean reward {fmean(scored):.3f}")
    print(f"killed three times: share of rows equal to those of the run not killed: {killed:.4f}")
    print(f"one of three servers stopped: {three:.4f}; files left behind: {left or 'none'}")
    print(json.dumps(machine()))
    sys.exit(min(killed, three) < (0.99 if vllm_python else 1.0) or bool(left))


if __name__ == "__main__":
    main()
