"""A mean over items with its error, where every item has one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from open_instruct_flip.eval.figures import Figure, Measure


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error by bootstrap over items, its 95% interval, and the number of items."""

    mean: float
    error: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float], seed: int) -> Estimate | None:
    """The mean of one value per item, or None of no item; the seed is the resampling's.

    Example:
        >>> right = estimate([1, 0] * 50, seed=0)
        >>> right.mean, round(right.error, 2), right.low < 0.5 < right.high
        (0.5, 0.05, True)
    """
    if not values:
        return None
    figure = Figure((Measure(np.array(values, dtype=float)[None, :, None]),))
    return Estimate(figure.value(), figure.error(seed), *figure.interval(seed), len(values))
