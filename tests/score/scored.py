"""The command line of a `flip score`, and what it wrote."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_instruct_flip.commands.main import run

Rows = list[dict[str, Any]]


def command(source: Path, out: Path, *urls: str, options: Sequence[str] = ()) -> list[str]:
    """The arguments of a `flip score` that takes little CPU and does not wait long."""
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", ",".join(urls)]
    quick = [
        "--judge_transport",
        "direct",
        "--max_concurrency",
        "8",
        "--retry_wait_s",
        "0.05",
        "--outage_timeout_s",
        "2",
        "--reply_contract",
        "free",
    ]
    return ["score", str(source), str(out), *judge, *quick, *options]


def read_jsonl(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def without_latency(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name != "latency_s"} for row in rows]


def exit_with(arguments: list[str]) -> None:
    """Run `flip` as a process of its own does, without its output."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    sys.exit(run(arguments))
