"""What a long run shows while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Totals(Protocol):
    """What a run has done so far."""

    @property
    def num_responses(self) -> int:
        """Responses that have been judged."""

    @property
    def num_failures(self) -> int:
        """Responses whose request failed, or the reply to it."""


Watch = Callable[[Totals, int], None]
"""Told of each step: the totals so far, and the position in the input, in the unit of its size."""

BAR_PERIOD_S = 0.2
LINE_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run is since it started, apart from what an earlier, interrupted one had done.

    Attributes:
        size: The whole input, in the unit of positions; None where that is not known.
        first_position: Where this run started.
        first_responses: Responses that were done by then.
    """

    size: int | None
    first_position: int
    first_responses: int

    def text(self, totals: Totals, position: int, elapsed_s: float) -> str:
        """Share done, responses, their rate, failures and the time that remains.

        Example:
            >>> from types import SimpleNamespace
            >>> Pace(100, 0, 0).text(SimpleNamespace(num_responses=30, num_failures=1), 50, 60.0)
            ' 50% 30 responses, 0/s, 1 failed, 0:01:00 left'
        """
        done = position - self.first_position
        rate = (totals.num_responses - self.first_responses) / elapsed_s
        counts = f"{totals.num_responses:,} responses, {rate:,.0f}/s, {totals.num_failures:,} failed"
        if self.size is None:
            return counts
        left = _clock(elapsed_s * (self.size - position) / done) if done else "-"
        share = position / self.size if self.size else 1.0
        return f"{share:4.0%} {counts}, {left} left"


@contextmanager
def shown(size: int | None, console: Console) -> Iterator[Watch]:
    """Show the progress that the yielded function is told of."""
    if not console.is_terminal:
        yield _now_and_then(size, LINE_PERIOD_S, lambda text, _: console.print(text, highlight=False, soft_wrap=True))
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("waiting for the judge's first answer", total=size)
        yield _now_and_then(size, BAR_PERIOD_S, lambda text, p: bar.update(task, completed=p, description=text))


def _now_and_then(size: int | None, period_s: float, show: Callable[[str, int], None]) -> Watch:
    pace: Pace | None = None
    started = last = time.monotonic()

    def watch(totals: Totals, position: int) -> None:
        nonlocal pace, started, last
        now = time.monotonic()
        if pace is None:
            pace, started, last = Pace(size, position, totals.num_responses), now, now
        if now - last >= period_s:
            last = now
            show(pace.text(totals, position, now - started), position)

    return watch


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
