"""The output while it grows: rows in order in `OUT.partial`, so that an interrupted run can go on, then OUT at once."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from open_instruct_flip.errors import UsageError
from open_instruct_flip.score.parquet import write_parquet
from open_instruct_flip.score.rows import ScoreRow
from open_instruct_flip.score.summary import Summary

Output = dict[str, Any]


class PartialOutput:
    """JSON lines that become OUT when they are complete, and are kept until then.

    Args:
        out: The file in the end, JSONL or parquet.
        settings: What the rewards depend on. A run goes on only from a partial output of equal settings.
        restart: Throw away what an earlier run has left.

    Raises:
        UsageError: There is a partial output of other settings, or another process writes it.

    Attributes:
        summary: Totals of the rows that are in it.
        position: How much of the input they are, in the unit of `input_size`.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, restart: bool = False) -> None:
        self._out = out
        self._settings = json.loads(json.dumps(settings))
        self._restart = restart
        self.path = out.with_name(f"{out.name}.partial")
        self._settings_path = out.with_name(f"{out.name}.partial.json")
        self.summary = Summary()
        self.position = 0

    def __enter__(self) -> Self:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self._restart:
            self._check_settings()
        self._file: BinaryIO = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(f"another process is writing {self.path}; wait for it, or choose another OUT") from error
        if self._restart:
            self._file.truncate(0)
        _write_at_once(self._settings_path, json.dumps(self._settings, indent=1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def resume(self, rows: Iterable[ScoreRow]) -> Iterator[ScoreRow]:
        """Take over what an earlier run has finished, cut what it left unfinished, and return the rows to do.

        Raises:
            UsageError: The partial output belongs to other rows.
        """
        rows = iter(rows)
        self._file.seek(0)
        for row in rows:
            start = self._file.tell()
            outputs = self._read_outputs(row)
            if outputs is None:
                self._file.truncate(start)
                self._file.seek(start)
                return itertools.chain([row], rows)
            self._count(outputs, row.position)
        if self._file.read(1):
            raise self._other(f"{self.path} holds more rows than the input")
        return rows

    def append(self, outputs: Sequence[Output], position: int) -> None:
        """Write the output rows of one input row or of several; after that a killed process can't lose them.

        Args:
            outputs: The output rows.
            position: The last input row's position.
        """
        self._file.write(b"".join(map(encode, outputs)))
        self._file.flush()
        self._count(outputs, position)

    def finish(self) -> None:
        """Put the complete output in its place."""
        os.fsync(self._file.fileno())
        complete = self.path
        if self._out.suffix == ".parquet":
            complete = self._out.with_name(f"{self._out.name}.partial.parquet")
            self._file.seek(0)
            write_parquet(complete, map(json.loads, self._file), integer_ids=self.summary.integer_ids)
        complete.replace(self._out)
        self.path.unlink(missing_ok=True)
        self._settings_path.unlink()

    def _read_outputs(self, row: ScoreRow) -> list[Output] | None:
        """The output rows of one input row from the partial output, or None when they are not all there."""
        outputs = []
        for index in range(row.num_outputs):
            line = self._file.readline()
            try:
                output = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                output = None
            if output is None:
                return None
            if (output["id"], output["index"]) != (row.id, index):
                raise self._other(f"{self.path} has row {output['id']!r} where the input has {row.id!r} ({row.place})")
            outputs.append(output)
        return outputs

    def _count(self, outputs: Iterable[Output], position: int) -> None:
        for output in outputs:
            self.summary.add(output)
        self.position = position

    def _check_settings(self) -> None:
        try:
            theirs = json.loads(self._settings_path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self._other(f"{self.path} has no readable {self._settings_path.name} beside it") from error
        names = sorted(n for n in theirs.keys() | self._settings.keys() if theirs.get(n) != self._settings.get(n))
        if names:
            changes = ", ".join(f"{n} {theirs.get(n)!r}, now {self._settings.get(n)!r}" for n in names)
            raise self._other(f"{self.path} was made with other settings ({changes})")

    def _other(self, what: str) -> UsageError:
        return UsageError(f"{what}; --restart throws it away and begins anew")


def encode(output: Output) -> bytes:
    """An output row as a line of JSON. Half a surrogate pair, which UTF-8 can't hold, becomes its JSON escape."""
    return json.dumps(output, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _write_at_once(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, "utf-8")
    beside.replace(path)
