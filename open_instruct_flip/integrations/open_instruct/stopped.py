"""How a reward function that can't go on stops training. Light: every process that handles a group imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from open_instruct_flip.errors import FlipError


class StoppedScores(Sequence[float]):
    """Stands where a group's scores would be, and raises the reason why there are none as soon as they are used.

    Travels with the group through Open Instruct's queue to the process that assembles batches. What is raised
    there reaches the driver as any error of training does.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __getitem__(self, index: Any) -> NoReturn:
        raise FlipError(self.reason)

    def __len__(self) -> NoReturn:
        raise FlipError(self.reason)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise FlipError(self.reason)
