"""The numbers of a comparison: smoothed curves, curves on the same steps, and one line per run and metric."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from open_instruct_flip.compare.metrics import Metric, known_metrics
from open_instruct_flip.compare.run import Gap, Run
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise MissingDependencyError(f"comparing runs needs numpy: {install_line('compare')}") from None

Floats = NDArray[np.float64]


MAX_DEFAULT_WINDOW = 101


@dataclass(frozen=True)
class SummaryLine:
    """One run in one metric.

    Attributes:
        first: The smoothed value at the run's first step; NaN where the raw one is not finite.
        best: The best smoothed value and its step; None where neither end of the scale is good, or none is finite.
        last: The smoothed value at the run's last step; NaN where the raw one is not finite.
        mean: The area under the raw curve, divided by its width: the mean over the steps that every run with
            this metric covers with finite values, so that a longer run has no advantage. None when they share none.
        gap: The steps without a finite value, None where there are none.
    """

    metric: Metric
    run: str
    first: float
    best: tuple[float, int] | None
    last: float
    mean: float | None
    gap: Gap | None = None


def smooth(steps: Sequence[float], values: Sequence[float], window: int) -> Floats:
    """The mean of all values at most half a window of steps away, on either side; `window` 1 changes nothing.

    Example:
        >>> smooth([1, 2, 3, 10], [0.0, 3.0, 6.0, 8.0], window=3).tolist()
        [1.5, 3.0, 4.5, 8.0]
    """
    at, raw = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    begin = np.searchsorted(at, at - window / 2, side="left")
    end = np.searchsorted(at, at + window / 2, side="right")
    return np.array([raw[first:last].mean() for first, last in zip(begin, end, strict=True)])


def default_window(runs: Sequence[Run]) -> int:
    """A tenth of the middle run's length in steps, at most 101, made odd so that a window has a middle."""
    length = median(run.rows[-1]["step"] - run.rows[0]["step"] + 1 for run in runs)
    return min(int(length / 10) // 2 * 2 + 1, MAX_DEFAULT_WINDOW)


def shared_steps(runs: Sequence[Run], metric: str) -> tuple[float, float] | None:
    """The first and last step that every run with finite values of the metric covers; None when they do not overlap."""
    ranges = [(steps[0], steps[-1]) for run in runs if (steps := run.series(metric)[0])]
    if not ranges:
        return None
    first, last = max(begin for begin, _ in ranges), min(end for _, end in ranges)
    return (first, last) if first <= last else None


def mean_over_steps(steps: Sequence[float], values: Sequence[float], first: float, last: float) -> float:
    """Area under the curve from step `first` to `last`, by the trapezoidal rule, divided by its width.

    Example:
        >>> mean_over_steps([0, 2, 4], [0.0, 2.0, 2.0], first=0, last=4)
        1.5
    """
    if first == last:
        return float(np.interp(first, steps, values))
    inner = [step for step in steps if first < step < last]
    at = np.array([first, *inner, last], dtype=float)
    return float(np.trapezoid(np.interp(at, steps, values), at) / (last - first))


def summarize(runs: Sequence[Run], window: int) -> list[SummaryLine]:
    """One line per metric and run, metrics in their fixed order, runs in theirs."""
    lines = []
    for metric in known_metrics(runs):
        span = shared_steps(runs, metric.name)
        lines += [_line(metric, run, window, span) for run in runs if metric.name in run.metrics()]
    return lines


def _line(metric: Metric, run: Run, window: int, span: tuple[float, float] | None) -> SummaryLine:
    steps, values = run.series(metric.name)
    smoothed = smooth(steps, values, window)
    at = dict(zip(steps, smoothed.tolist(), strict=True))
    logged = [row["step"] for row in run.rows if metric.name in row]
    best = None
    if metric.better and steps:
        place = int(np.argmax(smoothed) if metric.better == "higher" else np.argmin(smoothed))
        best = (float(smoothed[place]), int(steps[place]))
    mean = mean_over_steps(steps, values, *span) if span and steps else None
    first, last = at.get(logged[0], math.nan), at.get(logged[-1], math.nan)
    return SummaryLine(metric, run.name, first, best, last, mean, run.gap(metric.name))


def gap_notes(lines: Sequence[SummaryLine]) -> list[str]:
    """One line for each run and metric that is not finite everywhere, as in a run that diverged."""
    return [
        f"{line.run}: {line.metric.title.lower()} is not finite (NaN) at {line.gap.count} "
        f"step{'s' if line.gap.count > 1 else ''}, the first is step {line.gap.first}"
        for line in lines
        if line.gap
    ]


def check_shared(runs: Sequence[Run]) -> None:
    """Raise UsageError unless at least one metric is known to two runs (to one, when there is only one run)."""
    needed = min(2, len(runs))
    metrics = known_metrics(runs)
    if not any(sum(metric.name in run.metrics() for run in runs) >= needed for metric in metrics):
        known = "; ".join(f"{run.name}: {', '.join(sorted(run.metrics())) or 'none'}" for run in runs)
        raise UsageError(f"the runs share no metric that can be compared ({known})")


def write_aligned(runs: Sequence[Run], file: Path) -> None:
    """Write the raw curves as CSV, one line per step that any run has, one column per metric and run."""
    columns = [(metric.name, run) for metric in known_metrics(runs) for run in runs if metric.name in run.metrics()]
    curves = [{row["step"]: row[name] for row in run.rows if name in row} for name, run in columns]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["step", *(f"{name}: {run.name}" for name, run in columns)])
        for step in sorted({row["step"] for run in runs for row in run.rows}):
            writer.writerow([step, *(curve.get(step, "") for curve in curves)])
