"""The folder of a judge's training: one run writes it at a time, and goes on where an earlier one was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from open_instruct_flip.compare.history import HISTORY_FILE, RUN_FILE
from open_instruct_flip.errors import UsageError
from open_instruct_flip.one_writer import folder_alone, remove_parts

JUDGE, CHECKPOINTS, HELDOUT, CARD = "judge", "checkpoints", "heldout", "README.md"
STATE_FILE = "trainer_state.json"
PARTS = (RUN_FILE, HISTORY_FILE, JUDGE, CHECKPOINTS, HELDOUT, "wandb")


@contextmanager
def training_folder(folder: Path, settings: Mapping[str, Any], *, restart: bool) -> Iterator[Path | None]:
    """Hold a folder for a run; yields the checkpoint to go on from, or None where the run starts anew.

    Raises:
        UsageError: Another run writes it, or it holds something else: a run of other settings, or a finished one.
    """
    with folder_alone(folder):
        if restart:
            remove_parts(folder, PARTS)
        _check(folder, json.loads(json.dumps(settings)))
        yield last_checkpoint(folder / CHECKPOINTS)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None. One that was being written when the run was killed is removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        with suppress(OSError, ValueError):  # the trainer writes this file last
            json.loads((checkpoint / STATE_FILE).read_bytes())
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def _check(folder: Path, settings: dict[str, Any]) -> None:
    run = folder / RUN_FILE
    if not run.exists():
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no run: give another --out")
        return
    try:
        earlier = json.loads(run.read_bytes())["config"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{run} is not as it was written; --restart throws the run away") from None
    changed = [name for name in settings if settings[name] != earlier.get(name)]
    if changed:
        raise UsageError(
            f"{folder} holds a run of other settings ({', '.join(changed)}): give another --out, or --restart to "
            "throw it away"
        )
    if (folder / JUDGE / CARD).exists():
        raise UsageError(f"{folder / JUDGE} is trained already: serve it, give another --out, or --restart")


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
