"""Every command of `flip eval` that judges, on the same file and the same judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NUM_ROWS = 24
IN_FLIGHT = 2
AHEAD = 8 * IN_FLIGHT
"""Responses that are judged ahead of the first that is not written yet."""
SUBCOMMANDS = ("run", "attacks", "best-of-n", "retrieval")


def write_rows(path: Path) -> Path:
    """Rows that all of them can read, with two responses each."""
    rows = [
        {
            "prompt": f"name cause {n} of the loss of soil",
            "chosen": f"soil {n} is lost",
            "rejected": f"loam {n}",
            "responses": [f"soil {n} is lost", f"loam {n}"],
            "gold": [1, 0],
        }
        for n in range(NUM_ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(subcommand: str, data: Path, out: Path, url: str, *options: str) -> list[str]:
    """The command line of one of `SUBCOMMANDS`, with a judge that is asked once about each response."""
    named = {
        "run": ["pairs", "--data", str(data)],
        "attacks": ["pairs", "--data", str(data), "--attack", "begging"],
        "best-of-n": [str(data)],
        "retrieval": [str(data), "--others", "3"],
    }
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", url, "--reply_contract", "free"]
    quick = ["--judge_transport", "direct", "--max_concurrency", str(IN_FLIGHT), "--outage_timeout_s", "1"]
    return ["eval", subcommand, *named[subcommand], "--out", str(out), *judge, *quick, *options]


def judgements_of(out: Path) -> list[dict[str, Any]]:
    """The rows that a command has written, without what no two runs share."""
    lines = (out / "judgements.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "latency_s"} for line in lines]
