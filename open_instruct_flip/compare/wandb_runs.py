"""Runs logged to W&B: offline folders, read without a network, and online runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from open_instruct_flip.compare.metrics import STEP_KEYS, canonical_rows
from open_instruct_flip.compare.run import Run
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError

INSTALL = "pip install 'wandb>=0.31'"
API_TIMEOUT_S = 30
OPEN_INSTRUCT_REWARD = re.compile(r"objective/general-(.+)_reward")


def find_log(folder: Path) -> Path | None:
    """The `.wandb` file of an offline run's folder, or of the only run in a folder that holds `wandb/`.

    Raises:
        UsageError: The folder holds several runs.
    """
    for pattern in ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb"):
        logs = sorted({log.resolve(): log for log in folder.glob(pattern) if log.parent.name != "latest-run"}.values())
        if len(logs) > 1:
            raise UsageError(f"{folder} holds {len(logs)} W&B runs; name one of them, such as {logs[-1].parent}")
        if logs:
            return logs[0]
    return None


def read_log(file: Path, source: str) -> Run:
    """Read an offline W&B run, also one that was killed.

    Raises:
        MissingDependencyError: wandb is not installed, or too old to read its own files.
        UsageError: The file can't be read, or logs no training step.
    """
    about: dict[str, Any] = {}
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    records, notes = _records(file)
    for record in records:
        about |= record.get("run", {})
        for part in (record.get("run", {}).get("config", {}), record.get("config", {})):
            config |= part.get("update", {})
        if "history" in record:
            history.append(record["history"]["item"])
    config.pop("_wandb", None)
    return _run(about.get("display_name") or about.get("run_id") or file.stem, source, config, history, notes)


def read_online(path: str) -> Run:
    """Read `entity/project/run` from the W&B server that this machine is logged in to.

    Raises:
        MissingDependencyError: wandb is not installed.
        FlipError: The server can't be reached, refuses the key, or has no such run.
    """
    try:
        import wandb
    except ImportError:
        raise MissingDependencyError(f"reading {path} from W&B needs wandb: {INSTALL}") from None
    try:
        found = wandb.Api(timeout=API_TIMEOUT_S).run(path)
        history = list(found.scan_history())
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise FlipError(
            f"{path} is no folder on this machine, and could not be read as a W&B run: {error} "
            "(an online run needs a network and `wandb login`; without them compare the run's local folder)"
        ) from None
    return _run(found.name or found.id, path, dict(found.config), history)


def _run(
    name: str, source: str, config: dict[str, Any], history: list[dict[str, Any]], notes: tuple[str, ...] = ()
) -> Run:
    rows, logged_as = canonical_rows(history)
    if not rows:
        raise UsageError(f"{source} is empty: none of its W&B records has a step ({', '.join(STEP_KEYS)})")
    seed = config.get("seed")
    judge = OPEN_INSTRUCT_REWARD.fullmatch(logged_as.get("reward", ""))
    return Run(
        name=name,
        source=source,
        judge=judge and judge[1],
        seed=seed if isinstance(seed, int) else None,
        config=config,
        rows=rows,
        logged_as=logged_as,
        notes=notes,
    )


def _records(file: Path) -> tuple[Iterator[dict[str, Any]], tuple[str, ...]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        raise MissingDependencyError(f"reading {file} needs wandb: {INSTALL}")
    if "No such command" in done.stderr or "unknown command" in done.stderr:
        raise MissingDependencyError(f"this wandb is too old to read {file}: {INSTALL}")
    if done.returncode and not done.stdout:
        raise UsageError(f"{file} can't be read as a W&B run: {done.stderr.strip() or 'no reason given'}")
    # Of an incomplete file, a killed run's, wandb prints what is whole, and says so on stderr.
    notes = tuple(f"{file}: {line}" for line in done.stderr.splitlines() if line.strip())
    return map(json.loads, done.stdout.splitlines()), notes
