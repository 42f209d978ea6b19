"""A run of `flip eval` that is killed, and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judge_double import JudgeDouble

NUM_ITEMS = 120
IN_FLIGHT = 4
AHEAD = 8 * IN_FLIGHT
"""Responses that may be judged and not yet written when a run is killed."""


def test_a_run_killed_three_times_loses_nothing_and_judges_little_twice(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path
) -> None:
    double, data = judge_double(latency_s=0.01), tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"write of soil {n}", "chosen": f"soil {n}", "rejected": f"loam {n}"} for n in range(NUM_ITEMS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(out: str) -> subprocess.Popen[bytes]:
        judge = [
            "--llm_judge_model",
            "hosted_vllm/judge",
            "--api_base",
            double.api_base,
            "--judge_transport",
            "direct",
            "--reply_contract",
            "free",
        ]
        options = [*judge, "--max_concurrency", str(IN_FLIGHT), "--out", str(tmp_path / out)]
        command = [sys.executable, "-m", "open_instruct_flip", "eval", "run", "pairs", "--data", str(data), *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    path = tmp_path / "killed" / "judgements.jsonl"
    for wanted in (40, 90, 140):
        process = start("killed")
        while len(_lines(path)) < wanted:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
    assert start("killed").wait() == 0
    sent = double.num_requests
    assert sent <= 2 * NUM_ITEMS + 3 * AHEAD
    assert start("whole").wait() == 0
    assert _judgements(path) == _judgements(tmp_path / "whole" / "judgements.jsonl")
    assert len(_judgements(path)) == 2 * NUM_ITEMS


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _judgements(path: Path) -> list[dict[str, Any]]:
    return [{n: v for n, v in json.loads(line).items() if n != "latency_s"} for line in _lines(path)]
