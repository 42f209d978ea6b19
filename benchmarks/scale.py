"""`flip score` on ever more responses, against a server that answers at once: time for each and peak memory.

    python benchmarks/scale.py --rows 10000 --rows 100000 --rows 1000000

The input holds 8 responses of 60 words for each instruction. The command runs as a process of its own, as a user starts
it; its peak resident memory is what the operating system reports for it. Both should not grow with the rows.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from loopback import loopback_judge
from report import machine, show, write

GROUP_SIZE = 8
WORDS = [f"word{number}" for number in range(2000)]


def write_rows(path: Path, rows: int) -> None:
    """An input file with so many responses."""
    rng = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows // GROUP_SIZE):
            messages = [{"role": "user", "content": f"{number}. {' '.join(rng.choices(WORDS, k=20))}"}]
            responses = [" ".join(rng.choices(WORDS, k=60)) for _ in range(GROUP_SIZE)]
            file.write(json.dumps({"messages": messages, "responses": responses}) + "\n")


def measure(folder: Path, rows: int, url: str, transport: str) -> dict[str, Any]:
    """Score so many responses."""
    source, target = folder / f"{rows}.jsonl", folder / f"{rows}.scored.jsonl"
    write_rows(source, rows)
    command = [sys.executable, "-m", "open_instruct_flip", "score", str(source), str(target), "--api_base", url]
    command += ["--llm_judge_model", "hosted_vllm/judge", "--judge_transport", transport]
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        sys.exit(f"flip score failed:\n{(folder / 'log').read_text()[-2000:]}")
    with target.open(encoding="utf-8") as file:
        scored = [json.loads(line)["reward"] is not None for line in file]
    source.unlink()
    target.unlink()
    return {
        "rows": rows,
        "scored": sum(scored),
        "wall s": wall_s,
        "wall ms per row": 1000 * wall_s / rows,
        "CPU ms per row": 1000 * (used.ru_utime + used.ru_stime) / rows,
        "peak MiB": used.ru_maxrss / 1024,
    }


@click.command()
@click.option("--rows", multiple=True, default=(10_000, 100_000), show_default=True, help="Responses to score.")
@click.option("--transport", default="direct", show_default=True, type=click.Choice(["direct", "litellm"]))
@click.option("--out", default="runs/bench/scale.json", show_default=True, help="File for the results.")
def main(rows: tuple[int, ...], transport: str, out: str) -> None:
    """Score files of several sizes."""
    with tempfile.TemporaryDirectory() as folder, loopback_judge(latency_s=0.0) as url:
        results = [measure(Path(folder), count, url, transport) for count in rows]
    show(f"flip score, {transport} transport, server without latency", results)
    write(out, {"machine": machine(), "transport": transport, "rows": results})


if __name__ == "__main__":
    main()
