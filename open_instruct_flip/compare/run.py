"""A training run as every reader hands it over: its name, its judge, and one row of metrics per trainer step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Axis = Literal["step", "wall_time_s"]
Row = dict[str, float]
NAMES = ("NaN", "Infinity", "-Infinity")
"""What stands in JSON for the numbers that it lacks, in W&B's files and in this project's run folders."""


def as_number(value: Any) -> float | None:
    """A logged value as a number, which need not be finite; None where it is none.

    Example:
        >>> as_number(2), as_number("NaN"), as_number("text")
        (2, nan, None)
    """
    if isinstance(value, str):
        return float(value) if value in NAMES else None
    return value if isinstance(value, (int, float)) else None


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps at which a metric was logged, but not as a finite number.

    Attributes:
        first: The first such step.
        count: How many there are.
    """

    first: int
    count: int

    def __str__(self) -> str:
        return f"{self.count}, from step {self.first}"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: What the run is called in figures and tables.
        source: Where it was read from: a folder, or `entity/project/run`.
        judge: The judge that trained it ("flip", "pointwise", ...), None when unknown.
        seed: The run's seed, None when unknown.
        config: The settings the run was started with; empty when unknown.
        rows: One mapping per trainer step, steps ascending. Each has `step`, `wall_time_s` (seconds since the
            run's start, absent when unknown), and the metrics logged at that step, NaN and infinite ones too.
        logged_as: The trainer's own key of `step` and of each metric; empty for this project's run folders.
        notes: What a reader had to work around, one line each, to be shown to the user.
    """

    name: str
    source: str
    judge: str | None = None
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    logged_as: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def metrics(self) -> set[str]:
        """The metrics that at least one step has logged."""
        return {name for row in self.rows for name in row} - {"step", "wall_time_s"}

    def series(self, metric: str, over: Axis = "step") -> tuple[list[float], list[float]]:
        """The steps (or seconds) at which `metric` is finite, and its values there."""
        points = [
            (row[over], row[metric]) for row in self.rows if over in row and math.isfinite(row.get(metric, math.nan))
        ]
        return [x for x, _ in points], [y for _, y in points]

    def gap(self, metric: str) -> Gap | None:
        """Where `metric` is not finite, as in a run that diverged; None where it always is."""
        steps = [int(row["step"]) for row in self.rows if not math.isfinite(row.get(metric, 0.0))]
        return Gap(steps[0], len(steps)) if steps else None


def last_trajectory(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in the order they were logged, as the one trajectory that the run ended on.

    A step below its predecessor's means that the run was resumed from an earlier checkpoint: what was logged
    from that step on belongs to a policy that no longer exists, and is forgotten. Rows of the same step are
    merged, the later value wins.

    Example:
        >>> logged = [{"step": 1, "kl": 0.1}, {"step": 2, "kl": 0.2}, {"step": 3, "kl": 0.3}, {"step": 2, "kl": 0.5}]
        >>> last_trajectory(logged)
        ({'step': 1, 'kl': 0.1}, {'step': 2, 'kl': 0.5})
    """
    kept: list[Row] = []
    for row in rows:
        resumed = bool(kept) and row["step"] < kept[-1]["step"]
        while resumed and kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        if kept and kept[-1]["step"] == row["step"]:
            kept[-1] = kept[-1] | row
        else:
            kept.append(dict(row))
    return tuple(kept)


def run_labels(runs: Sequence[Run]) -> list[str]:
    """Each run's name, with its judge where the name does not say it."""
    return [
        run.name if not run.judge or run.judge in run.name.lower() else f"{run.name} ({run.judge} judge)"
        for run in runs
    ]
