"""What was inferred of each held-out pair, a file for each time that it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_instruct_flip.judge_training.measures import MEASURES, Measured, means
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judging.lines import encode


def _file_of(folder: Path, step: int) -> Path:
    """Where a step's measures of each pair lie."""
    return folder / f"step_{step}.jsonl"


def write_measured(folder: Path, step: int, pairs: Sequence[Pair], measured: Measured) -> None:
    """Write a line for each pair: its instruction, its response, what was inferred of it, and its measures."""
    folder.mkdir(exist_ok=True)
    columns = [dict(zip(measured.per_pair, row, strict=True)) for row in zip(*measured.per_pair.values(), strict=True)]
    rows = [
        {"instruction": pair.instruction, "response": pair.response, "inferred": inferred, **figures}
        for pair, inferred, figures in zip(pairs, measured.inferred, columns, strict=True)
    ]
    _file_of(folder, step).write_bytes(b"".join(map(encode, rows)))


def changes(folder: Path, before: int, after: int) -> Mapping[str, float]:
    """The mean change of each measure between two steps, and its standard error over the pairs as `<name>_se`.

    Nothing where one of the files is gone: a judge that is trained is worth more than its card.
    """
    files = [_file_of(folder, step) for step in (before, after)]
    if not all(file.exists() for file in files):
        return {}
    earlier, later = ([json.loads(line) for line in file.read_bytes().split(b"\n") if line] for file in files)
    return means({name: [b[name] - a[name] for a, b in zip(earlier, later, strict=True)] for name in MEASURES})
