"""Figures with their errors: what a figure is made from is kept, so that it can be made again from a resample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

NUM_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples between which a figure's interval lies."""
_CHUNK = 2_000_000


def mean_of_first(values: Array) -> Array:
    """The mean over units of the only value that each has."""
    mean: Array = np.nanmean(values[..., 0], axis=-1)
    return mean


@dataclass(frozen=True)
class Measure:
    """A figure of a set of units, which are items as a rule.

    Attributes:
        values: What it is made from, (runs, units, values of each unit); NaN for a unit that could not be judged.
        combine: Makes figures from (..., units, values of each unit), ignoring units that are NaN.
    """

    values: Array
    combine: Callable[[Array], Array] = mean_of_first

    def value(self) -> float:
        """The figure, the mean over runs; NaN where nothing was judged."""
        return float(_mean_over_runs(self.combine, self.values))

    def resampled(self, seed: int) -> Array:
        """The figure of `NUM_RESAMPLES` sets of units, drawn with replacement: the same ones for the same seed."""
        runs, units, width = self.values.shape
        if not units:
            return np.full(NUM_RESAMPLES, np.nan)
        drawn = np.random.default_rng(seed).integers(units, size=(NUM_RESAMPLES, units))
        step = max(1, _CHUNK // (runs * units * width))
        chunks = (drawn[start : start + step] for start in range(0, NUM_RESAMPLES, step))
        return np.concatenate([_mean_over_runs(self.combine, self.values[:, chunk]) for chunk in chunks])


@dataclass(frozen=True)
class Figure:
    """The unweighted mean of one measure or several, such as those of a benchmark's subsets."""

    parts: tuple[Measure, ...]

    @classmethod
    def mean(cls, figures: Sequence[Figure]) -> Figure:
        """The unweighted mean of figures of one measure each."""
        return cls(tuple(part for figure in figures for part in figure.parts))

    def value(self) -> float:
        """The figure; NaN where a part has nothing that was judged."""
        return float(np.mean([part.value() for part in self.parts]))

    def resampled(self, seed: int) -> Array:
        """The figure of resampled units; the parts are resampled apart from each other."""
        mean: Array = np.mean([part.resampled(seed + number) for number, part in enumerate(self.parts)], axis=0)
        return mean

    def error(self, seed: int) -> float:
        """The bootstrap's standard error over units; NaN where nothing was judged."""
        return float(_quietly(np.nanstd, self.resampled(seed)))

    def interval(self, seed: int) -> tuple[float, float]:
        """Between which values the figure lies in 95% of the resamples."""
        low, high = _quietly(np.nanpercentile, self.resampled(seed), INTERVAL)
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one judge is ahead of another, over what both have judged; the interval is a paired bootstrap's."""

    value: float
    error: float
    low: float
    high: float


def difference(ours: Figure, theirs: Figure, seed: int) -> Difference:
    """A figure less another one of the same units; both are resampled alike."""
    pairs = [_both_judged(a, b) for a, b in zip(ours.parts, theirs.parts, strict=True)]
    mine, other = Figure(tuple(a for a, _ in pairs)), Figure(tuple(b for _, b in pairs))
    apart = mine.resampled(seed) - other.resampled(seed)
    low, high = _quietly(np.nanpercentile, apart, INTERVAL)
    return Difference(mine.value() - other.value(), float(_quietly(np.nanstd, apart)), float(low), float(high))


def _both_judged(a: Measure, b: Measure) -> tuple[Measure, Measure]:
    """Both measures without the units that one of them lacks; a single run stands for as many as the other has."""
    mine, other = np.broadcast_arrays(a.values, b.values)
    missing = np.isnan(mine).any(axis=-1) | np.isnan(other).any(axis=-1)
    masked = [np.where(missing[..., None], np.nan, values) for values in (mine, other)]
    return Measure(masked[0], a.combine), Measure(masked[1], b.combine)


def _mean_over_runs(combine: Callable[[Array], Array], values: Array) -> Any:
    return _quietly(np.nanmean, _quietly(combine, values), axis=0)


def _quietly(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    # numpy warns where all is NaN; here that says that nothing was judged, and the figure is NaN as well.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return work(*args, **options)
