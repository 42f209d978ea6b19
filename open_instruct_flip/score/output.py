"""Where scored rows go: into a file that can be gone on with, or straight to standard output."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.line_file import LineFile
from open_instruct_flip.judging.lines import Output, decode, encode
from open_instruct_flip.one_writer import write_at_once
from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES
from open_instruct_flip.score.columns import write_as_parquet
from open_instruct_flip.score.groups import ResponseGroup
from open_instruct_flip.score.summary import Summary

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


class StreamedOutput:
    """JSON lines on standard output. What is written can't be gone on with.

    Attributes:
        summary: Totals of the rows that were written.
    """

    def __init__(self) -> None:
        self.summary = Summary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def kept(self, group: ResponseGroup) -> list[Output] | None:
        """The output rows of a group that an earlier run has finished: none."""
        return None

    def append(self, outputs: Sequence[Output]) -> None:
        """Write output rows."""
        sys.stdout.buffer.write(b"".join(map(encode, outputs)))
        sys.stdout.buffer.flush()
        self.summary.add_all(outputs)

    def finish(self) -> None:
        """Nothing is left to do."""


class PartialOutput(LineFile):
    """JSON lines in `OUT.partial` that become OUT when they are complete, and are kept until then.

    A run writes all rows in the order of the input: those that an earlier run has left, which lie in
    `OUT.partial.kept` meanwhile, and those that it judges. So a row that failed can be judged again wherever it
    stands, and whenever a run is killed, the two files hold every finished row.

    Args:
        out: The file in the end, with one of `SUFFIXES`.
        settings: What the rewards depend on. A run goes on only from a partial output of equal settings. Without an
            `input` the input can't be read again, so that no run can go on.
        restart: Throw away what an earlier run has left.
        max_failure_rate: Where a larger share of what earlier runs have left failed, replies that failed are judged
            again too; else failed requests only.

    Raises:
        UsageError: There is a partial output of other settings, or another process writes it.

    Attributes:
        summary: Totals of the rows that are in it.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, Any], *, restart: bool = False, max_failure_rate: float = 1.0
    ) -> None:
        self._out = out
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._restart = restart
        self._max_failure_rate = max_failure_rate
        self._judged_again = REQUEST_FAILURES
        self.path = _beside(out, ".partial")
        self._settings_path = _beside(out, ".partial.json")
        self._kept_path = _beside(out, ".partial.kept")
        self.summary = Summary()

    def kept(self, group: ResponseGroup) -> list[Output] | None:
        """The output rows of the next group from an earlier run; None where some are missing, or are judged again.

        Raises:
            UsageError: The partial output belongs to other rows.
        """
        outputs = [decode(self._kept.readline()) for _ in range(group.num_outputs)]
        for index, output in enumerate(outputs):
            if output and (output["id"], output["index"]) != (group.id, index):
                raise self._other(
                    f"{self.path} has row {output['id']!r} where the input has {group.id!r} ({group.place})"
                )
        complete = [output for output in outputs if output and output["error"] not in self._judged_again]
        return complete if len(complete) == group.num_outputs else None

    def holds_more(self) -> bool:
        """Whether an earlier run has left rows that `kept` was not asked for yet."""
        return bool(self._kept.peek(1))

    def append(self, outputs: Sequence[Output]) -> None:
        """Write the output rows of one input row or of several; after that a killed process can't lose them.

        Raises:
            FlipError: They can't be written, as on a full disk.
        """
        self._write(outputs)
        self.summary.add_all(outputs)

    def finish(self) -> None:
        """Put the complete output in its place.

        Raises:
            UsageError: An earlier run has left more rows than there are now.
        """
        if self.holds_more():
            raise self._other(f"{self.path} holds more rows than the input, or than --limit")
        os.fsync(self._file.fileno())
        self._in_final_form().replace(self._out)
        for path in (self.path, self._kept_path, self._settings_path):
            path.unlink(missing_ok=True)

    def _in_final_form(self) -> Path:
        if self._out.suffix == ".jsonl":
            return self.path
        complete = _beside(self._out, f".partial{self._out.suffix}")
        self._file.seek(0)
        if self._out.suffix == ".gz":
            with gzip.open(complete, "wb") as packed:
                shutil.copyfileobj(self._file, packed)
        else:
            keep_replies = self._settings["keep_replies"]
            write_as_parquet(complete, self._file, integer_ids=self.summary.integer_ids, keep_replies=keep_replies)
        return complete

    def _take_over(self, opened: contextlib.ExitStack) -> None:
        """Put all that earlier runs have left into `OUT.partial.kept`, and begin `OUT.partial` anew."""
        if self._restart:
            self._kept_path.unlink(missing_ok=True)
        else:
            self._gather()
            before = _summary_of(self._kept_path)
            if before.failure_rate > self._max_failure_rate:
                self._judged_again = REQUEST_FAILURES | REPLY_FAILURES
            if before.rewards.count:
                self._check_settings()
            else:
                self._kept_path.unlink()
        self._file.truncate(0)
        self._kept_path.touch()
        write_at_once(self._settings_path, json.dumps(self._settings, indent=1))
        self._kept = opened.enter_context(self._kept_path.open("rb"))

    def _gather(self) -> None:
        """Lines have their places: those of the last run stand for the first ones of the runs before it."""
        self._file.seek(0)
        gathered = _beside(self._kept_path, ".new")
        self._kept_path.touch()
        with gathered.open("wb") as new, self._kept_path.open("rb") as before:
            count = 0
            for count, line in enumerate(self._whole_lines(), start=1):  # noqa: B007  # counts
                new.write(line)
            new.writelines(itertools.islice(before, count, None))
        gathered.replace(self._kept_path)

    def _whole_lines(self) -> Iterable[bytes]:
        return (line for line in self._file if line.endswith(b"\n"))

    def _check_settings(self) -> None:
        if self._settings["input"] is None:
            raise self._other(f"{self.path} can't be gone on with, for standard input can't be read again")
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


def check_suffix(out: Path) -> None:
    """Raise UsageError unless the file's name says how it is written."""
    if not out.name.endswith(SUFFIXES):
        raise UsageError(f"{out} ends in none of {', '.join(SUFFIXES)}, which say how a file is written")


def _summary_of(path: Path) -> Summary:
    summary = Summary()
    with path.open("rb") as lines:
        summary.add_all(filter(None, map(decode, lines)))
    return summary


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")
