"""What the rewards of a file depend on, so that a run only goes on from what belongs to it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from open_instruct_flip.judges.base import Judge

EDGE_BYTES = 1 << 20


def reward_settings(source: Path, judge: Judge) -> dict[str, Any]:
    """Judge, model, prompts and input, as plain values. How the judge is reached is not among them."""
    return {
        "judge": judge.name,
        "llm_judge_model": judge.client.config.llm_judge_model,
        **asdict(judge.config),
        "prompt": _digest_of_prompt(judge),
        "input": f"{source.stat().st_size} bytes, {_digest_of_edges(source)}",
    }


def _digest_of_prompt(judge: Judge) -> str | None:
    if judge.prompt_files() is None:
        return None
    texts = (judge.prompt.system, judge.prompt.user)
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def _digest_of_edges(path: Path) -> str:
    """Of the first and the last MiB: enough to tell files of equal size apart, and quick for one of any size."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        digest.update(file.read(EDGE_BYTES))
        file.seek(max(0, path.stat().st_size - EDGE_BYTES))
        digest.update(file.read(EDGE_BYTES))
    return digest.hexdigest()
