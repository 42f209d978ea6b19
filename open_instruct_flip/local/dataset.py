"""The world's instructions as an RLVR dataset of Open Instruct's schema, with the held-out ones as its test split."""

from __future__ import annotations

import json
from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.local import world

FILES = ("train.jsonl", "test.jsonl")
LABEL = "general-flip"


def write_dataset(folder: Path) -> tuple[int, int]:
    """Write both splits; returns how many instructions each holds."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = world.split()
    for name, specs in zip(FILES, splits, strict=True):
        lines = [json.dumps(_row(world.instruction(spec))) + "\n" for spec in specs]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return len(splits[0]), len(splits[1])


def read_dataset(folder: Path) -> tuple[list[world.Spec], list[world.Spec]]:
    """Training and held-out instructions of a folder.

    Raises:
        UsageError: A file is missing, or a row is no instruction of this world.
    """
    return _read(folder / FILES[0]), _read(folder / FILES[1])


def _read(file: Path) -> list[world.Spec]:
    if not file.is_file():
        raise UsageError(f"the dataset {file.parent} has no {file.name}")
    specs = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            specs.append(world.parse(json.loads(line)["ground_truth"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{file}:{number}: {error}; local training knows only this world's instructions"
            ) from error
    if not specs:
        raise UsageError(f"{file} is empty")
    return specs


def _row(instruction: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": instruction}], "ground_truth": instruction, "dataset": LABEL}
