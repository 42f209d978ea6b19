"""The folder of a local run: one run writes it at a time, and an earlier one is replaced only when asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.one_writer import folder_alone, remove_parts

RUN_PARTS = ("run.json", "history.jsonl", "judge_server.log", "policy", "trainer", "wandb")


@contextmanager
def run_folder(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Make a folder ready for a run, and keep other runs out of it until the block ends.

    Raises:
        UsageError: Another run is writing it, it holds a run and `overwrite` is false, or it holds something else.
    """
    with folder_alone(folder):
        if not (folder / "run.json").exists() and not (folder / "history.jsonl").exists():
            if any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty and holds no run: give another --out")
        elif not overwrite:
            raise UsageError(f"{folder} holds a run already: give another --out, or --overwrite to replace it")
        remove_parts(folder, RUN_PARTS)
        yield
