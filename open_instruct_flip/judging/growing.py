"""A file of what a model was paid to write: it keeps each row as it comes, and a later run goes on with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.identity import changes
from open_instruct_flip.judging.line_file import LineFile
from open_instruct_flip.judging.lines import Output, decode
from open_instruct_flip.one_writer import write_at_once


class GrowingFile(LineFile):
    """JSON lines, and beside them `<name>.settings.json` with what they depend on.

    Args:
        path: The file; made on entry, with its folder.
        settings: What its rows depend on, as plain values: it is gone on with under equal ones alone.
        key: What a row answers; raises KeyError, TypeError or UsageError for a row of another kind.

    Raises:
        UsageError: On entry: the file holds rows of another kind or of other settings, or another process writes it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], key: Callable[[Output], Hashable]) -> None:
        self.path = path
        self._settings_path = path.with_name(f"{path.name}.settings.json")
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._key = key
        self._keys: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def append(self, row: Output) -> None:
        """Write a row; after that a killed process can't lose it.

        Raises:
            FlipError: It can't be written, as on a full disk.
        """
        self._write([row])
        self._keys.add(self._key(row))

    def _take_over(self, opened: ExitStack) -> None:
        """Take the rows of earlier runs over; half a line that a kill has left is cut off."""
        self._file.seek(0)
        self._keys, end = _whole_rows(self._file, self.path, self._key)
        if self._keys or end < self._file.seek(0, os.SEEK_END):  # half a line may be somebody's whole file
            self._check_settings()
        self._file.truncate(end)
        write_at_once(self._settings_path, f"{json.dumps(self._settings, indent=1)}\n")

    def _check_settings(self) -> None:
        try:
            theirs = dict(json.loads(self._settings_path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            name = self._settings_path.name
            raise UsageError(f"{self.path} has no readable {name} beside it; give another OUT") from error
        changed = ", ".join(changes(theirs, self._settings))
        if changed:
            raise UsageError(f"{self.path} was made with other settings ({changed}); give another OUT")


def check_name(path: Path) -> None:
    """Raise UsageError for a name that says another format."""
    if path.suffix != ".jsonl":
        raise UsageError(f"{path} is written as JSON lines: give OUT a name that ends in .jsonl")


def keys_in(path: Path, key: Callable[[Output], Hashable]) -> set[Hashable]:
    """What the rows of such a file answer, without writing it; nothing where there is none.

    Raises:
        UsageError: It holds rows of another kind.
    """
    if not path.exists():
        return set()
    with path.open("rb") as file:
        return _whole_rows(file, path, key)[0]


def _whole_rows(file: BinaryIO, path: Path, key: Callable[[Output], Hashable]) -> tuple[set[Hashable], int]:
    """What the whole lines of a file answer, and where they end."""
    keys, end = set(), 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        end += len(line)
        try:
            keys.add(key(decode(line) or {}))
        except (KeyError, TypeError, UsageError):
            raise UsageError(f"{path}:{number} is no row of this command; give another OUT") from None
    return keys, end
