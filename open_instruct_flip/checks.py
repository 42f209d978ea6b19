"""Checks of options that hold numbers."""

from __future__ import annotations

import math

from open_instruct_flip.errors import UsageError


def check_above_zero(options: object, *names: str) -> None:
    """Raise UsageError for an attribute of `options` that is no finite number above 0."""
    for name in names:
        if not 0 < getattr(options, name) < math.inf:
            raise UsageError(f"--{name} must be a finite number above 0, got {getattr(options, name)!r}")


def check_zero_or_above(options: object, *names: str) -> None:
    """Raise UsageError for an attribute of `options` that is no finite number, 0 or above."""
    for name in names:
        if not 0 <= getattr(options, name) < math.inf:
            raise UsageError(f"--{name} must be a finite number, 0 or above, got {getattr(options, name)!r}")


def parse_prices(text: str) -> tuple[float, float]:
    """Prices of a million prompt and completion tokens, from one price or two with a comma.

    Example:
        >>> parse_prices("0.1,0.4")
        (0.1, 0.4)
    """
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2) or not all(math.isfinite(part) and part >= 0 for part in parts):
        raise UsageError(f"--price_per_million is IN or IN,OUT, such as 0.1,0.4; got {text!r}")
    return parts[0], parts[-1]
