"""Items by the length of their right responses against the wrong ones: a judge that likes length shows here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from open_instruct_flip.eval.items import Item

NUM_QUANTILES = 4


def length_ratio(item: Item) -> float:
    """Natural logarithm of the right responses' mean length by the wrong ones', in characters."""
    pairs = list(zip(item.responses, item.right, strict=True))
    right = fmean(len(response) for response, is_right in pairs if is_right)
    wrong = fmean(len(response) for response, is_right in pairs if not is_right)
    return math.log((right + 1) / (wrong + 1))


def by_length(items: Sequence[Item]) -> dict[str, list[int]]:
    """Numbers of the items whose right responses are longer, shorter, as long, and of each quarter of the ratios.

    The quarters go from the relatively shortest right responses to the longest.
    """
    ratios = np.array([length_ratio(item) for item in items])
    strata = {
        "right_longer": np.flatnonzero(ratios > 0),
        "right_shorter": np.flatnonzero(ratios < 0),
        "same_length": np.flatnonzero(ratios == 0),
    }
    quarters = np.array_split(np.argsort(ratios, kind="stable"), NUM_QUANTILES)
    strata |= {f"quarter_{number}": quarter for number, quarter in enumerate(quarters, start=1)}
    return {name: numbers.tolist() for name, numbers in strata.items() if len(numbers)}
