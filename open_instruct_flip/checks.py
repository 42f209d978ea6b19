"""Checks of options that hold a number."""

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
