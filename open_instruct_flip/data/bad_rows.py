"""Rows that do not fit: named, counted, and skipped only on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from open_instruct_flip.data.rows import Row
from open_instruct_flip.data.shapes import BadRowError, Prompt, read_prompt
from open_instruct_flip.errors import FlipError


@dataclass
class BadRows:
    """Counts bad rows and keeps the places of the first `max_named`.

    Unless they are skipped, reading ends with a FlipError: after `max_named` bad rows, or at the end of the data, so
    that a user sees more than one of them at a time.
    """

    skip: bool = False
    max_named: int = 20
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, row: Row, reason: str) -> None:
        self.count += 1
        if len(self.named) < self.max_named:
            self.named.append(f"{row.place}: {reason}")
        if len(self.named) == self.max_named:
            self.check()

    def check(self) -> None:
        """Raise FlipError if a bad row was met that is not to be skipped."""
        if self.count and not self.skip:
            raise FlipError(f"{self.count} bad rows ({'; '.join(self.named)}); --skip_bad_rows leaves them out")


def read_prompts(rows: Iterable[Row], bad_rows: BadRows, *, multi_turn: bool) -> Iterator[Prompt]:
    """The prompts of all rows that fit a known shape; the others go to `bad_rows`, which may end the reading."""
    for row in rows:
        if row.fault:
            bad_rows.add(row, row.fault)
            continue
        try:
            yield read_prompt(row.columns, multi_turn=multi_turn)
        except BadRowError as error:
            bad_rows.add(row, str(error))
    bad_rows.check()
