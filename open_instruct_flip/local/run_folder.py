"""The folder of a local run: one run writes it at a time, and an earlier one is replaced only when asked."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from open_instruct_flip.errors import UsageError

RUN_PARTS = ("run.json", "history.jsonl", "judge_server.log", "policy", "trainer", "wandb")


@contextmanager
def run_folder(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Make a folder ready for a run, and keep other runs out of it until the block ends.

    Raises:
        UsageError: Another run is writing it, it holds a run and `overwrite` is false, or it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not (folder / "run.json").exists() and not (folder / "history.jsonl").exists():
            if any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty and holds no run: give another --out")
        elif not overwrite:
            raise UsageError(f"{folder} holds a run already: give another --out, or --overwrite to replace it")
        _remove_run(folder)
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"another run is writing {folder}: give another --out, or stop that run") from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(descriptor)


def _remove_run(folder: Path) -> None:
    """Remove what a run leaves in its folder, and nothing else."""
    for name in RUN_PARTS:
        part = folder / name
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
