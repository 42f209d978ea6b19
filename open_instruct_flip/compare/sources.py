"""Where a run can be read from: the one place that knows every format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.compare.history import HISTORY_FILE, read_run
from open_instruct_flip.compare.run import Run
from open_instruct_flip.compare.trl_state import STATE_FILE, find_state, read_state
from open_instruct_flip.compare.wandb_runs import find_log, read_log, read_online
from open_instruct_flip.errors import UsageError

ONLINE_RUN = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+")


def read_runs(sources: Sequence[str]) -> list[Run]:
    """Read every run, and give runs of the same name their sources as names.

    Raises:
        UsageError: One of them is no run, or is named twice.
        FlipError: An online run can't be read.
    """
    for source, count in Counter(sources).items():
        if count > 1:
            raise UsageError(f"{source} is given {count} times; name each run once")
    runs = [read_any(source) for source in sources]
    names = Counter(run.name for run in runs)
    return [run if names[run.name] == 1 else replace(run, name=run.source) for run in runs]


def read_any(source: str) -> Run:
    """Read a run folder, a trainer's checkpoint, an offline W&B folder, or an online `entity/project/run`.

    Raises:
        UsageError: It is none of these, or holds no step.
        FlipError: An online run can't be read.
    """
    folder = Path(source)
    if not folder.exists():
        if ONLINE_RUN.fullmatch(source):
            return read_online(source)
        raise UsageError(f"{source} does not exist; a run is a folder, or a W&B run entity/project/run")
    if not folder.is_dir():
        raise UsageError(f"{source} is a file; a run is the folder that it lies in")
    if (folder / HISTORY_FILE).is_file():
        return read_run(folder)
    if log := find_log(folder):
        return read_log(log, source)
    if state := find_state(folder):
        return read_state(state, source)
    raise UsageError(f"{source} is no run: it holds no {HISTORY_FILE}, no {STATE_FILE} and no W&B log (run-*.wandb)")
