"""The run folder of a local training run: `run.json` says what was run, `history.jsonl` holds a line per step."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from open_instruct_flip.compare.run import Row, Run, as_number, last_trajectory
from open_instruct_flip.errors import UsageError

RUN_FILE = "run.json"
HISTORY_FILE = "history.jsonl"


class RunHistory:
    """Writes a run's folder while it trains. A run that was killed goes on in the same folder.

    Args:
        run_dir: The run's folder; made when missing.
        name: What the run is called in figures; the folder's name when empty.
        judge: The judge that gives the rewards, such as "flip" or "pointwise".
        seed: The run's seed.
        config: The run's settings; anything JSON can't hold is written as its text.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history = RunHistory(folder, name="flip-1", judge="flip", seed=1)
        ...     history.log(1, reward=0.25, kl=None)
        ...     run = read_run(folder)
        >>> run.name, run.series("reward"), run.metrics()
        ('flip-1', ([1], [0.25]), {'reward'})
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        name: str = "",
        judge: str | None = None,
        seed: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._file = self.run_dir / HISTORY_FILE
        _cut_unfinished_line(self._file)
        self._begun = time.monotonic()
        self._earlier_s: float | None = None
        started_at = _read_run_file(self.run_dir).get("started_at") or datetime.now(UTC).isoformat(timespec="seconds")
        about = {"name": name or self.run_dir.resolve().name, "judge": judge, "seed": seed, "started_at": started_at}
        _write_whole(self.run_dir / RUN_FILE, json.dumps(about | {"config": dict(config or {})}, indent=2, default=str))

    def log(self, step: int, **metrics: float | None) -> None:
        """Append one step's metrics; on return they are in the file.

        None is left out: in the file, a metric that is not known is absent. NaN and infinite values are written by
        name, "NaN" or "Infinity", so that the file is JSON.
        `wall_time_s` is added; in a resumed run it goes on from the step before `step`, so that lost work is not
        counted.
        """
        if self._earlier_s is None:
            self._earlier_s = self._wall_time_before(step)
        row: Row = {"step": int(step), "wall_time_s": round(self._earlier_s + time.monotonic() - self._begun, 3)}
        known = {name: _by_name(float(value)) for name, value in metrics.items() if value is not None}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | known) + "\n")

    def _wall_time_before(self, step: int) -> float:
        rows, _ = _read_rows(self._file) if self._file.exists() else ([], ())
        earlier = [row["wall_time_s"] for row in last_trajectory(rows) if row["step"] < step and "wall_time_s" in row]
        return earlier[-1] if earlier else 0.0


def read_run(run_dir: str | Path) -> Run:
    """Read a run folder, also one that is still written to or whose run was killed.

    Raises:
        UsageError: The folder holds no history, an empty one, or a line (other than a half-written last one)
            that is no step.
    """
    folder = Path(run_dir)
    file = folder / HISTORY_FILE
    if not file.is_file():
        raise UsageError(f"{folder} is no run: it holds no {HISTORY_FILE}")
    rows, notes = _read_rows(file)
    if not rows:
        raise UsageError(f"{file} is empty: the run ended before its first step, or has not reached it yet")
    about = _read_run_file(folder)
    return Run(
        name=about.get("name") or folder.resolve().name,
        source=str(run_dir),
        judge=about.get("judge"),
        seed=about.get("seed"),
        config=about.get("config") or {},
        rows=last_trajectory(rows),
        notes=notes,
    )


def _read_rows(file: Path) -> tuple[list[Row], tuple[str, ...]]:
    lines = file.read_bytes().split(b"\n")
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line)))
        except ValueError as error:
            if number == len(lines):
                return rows, (f"{file}: the last line (line {number}) is half-written and left out",)
            raise UsageError(f"{file}, line {number}: no step ({error}); remove the line or restore the file") from None
    return rows, ()


def _row(value: Any) -> Row:
    if not isinstance(value, dict) or not isinstance(value.get("step"), int):
        raise ValueError("a line is a JSON object with an integer 'step'")
    return {name: number for name, logged in value.items() if (number := as_number(logged)) is not None}


def _by_name(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _read_run_file(folder: Path) -> dict[str, Any]:
    file = folder / RUN_FILE
    if not file.exists():
        return {}
    try:
        about = json.loads(file.read_bytes())
    except ValueError as error:
        raise UsageError(f"{file} is no JSON ({error}); restore it, or remove it to go on without it") from None
    if not isinstance(about, dict):
        raise UsageError(f"{file} holds no JSON object; restore it, or remove it to go on without it")
    return about


def _cut_unfinished_line(file: Path) -> None:
    """Drop what a kill left after the last line end, so that the next line starts on its own."""
    if file.exists():
        whole_lines = file.read_bytes().rfind(b"\n") + 1
        os.truncate(file, whole_lines)


def _write_whole(file: Path, text: str) -> None:
    partial = file.with_name(f"{file.name}.tmp")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(file)
