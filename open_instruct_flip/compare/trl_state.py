"""Runs of a Hugging Face trainer, TRL's included, read from the `trainer_state.json` in its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

from open_instruct_flip.compare.metrics import canonical_rows
from open_instruct_flip.compare.run import Run
from open_instruct_flip.errors import UsageError

STATE_FILE = "trainer_state.json"


def find_state(folder: Path) -> Path | None:
    """The trainer state of a checkpoint folder, or of the newest checkpoint in an output folder."""
    if (folder / STATE_FILE).is_file():
        return folder / STATE_FILE
    checkpoints = {_step(path.parent): path for path in folder.glob(f"checkpoint-*/{STATE_FILE}")}
    return checkpoints[max(checkpoints)] if checkpoints else None


def read_state(file: Path, source: str) -> Run:
    """Read a trainer state; it has no wall time.

    Raises:
        UsageError: The file is no trainer state, or its history is empty.
    """
    try:
        history = json.loads(file.read_bytes())["log_history"]
        rows, logged_as = canonical_rows(history)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no trainer state ({type(error).__name__}: {error})") from None
    if not rows:
        raise UsageError(f"{file} has an empty history: the run ended before its first logged step")
    folder = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
    note = f"{source}: {file.name} holds no times, so the run is missing from figures over wall time"
    return Run(name=folder.resolve().name, source=source, rows=rows, logged_as=logged_as, notes=(note,))


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
