"""Rows one at a time, each with the place it stands: files, folders, standard input and datasets of the hub."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.hub import folder_splits, hub_revision, hub_splits, num_hub_rows, read_hub
from open_instruct_flip.rows.parquet import num_parquet_rows, read_parquet

STDIN = "-"
ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
SUFFIXES = (*ROW_SUFFIXES, ".txt")


class Row(NamedTuple):
    """One row, or the reason why there is none.

    Attributes:
        source: The file or dataset it stands in.
        number: Its number there, from 1; the line in JSONL and text files.
        columns: Its values; empty where `fault` says what makes it unreadable.
        position: How much of `source` has been read with it, in the unit of `RowSource.size`.
    """

    source: str
    number: int
    columns: dict[str, Any]
    fault: str = ""
    position: int = 0

    @property
    def place(self) -> str:
        return f"{self.source}:{self.number}"


class Start(NamedTuple):
    """Where reading of a file begins: its row, and for JSONL its line, both from 0, and its first byte."""

    row: int = 0
    line: int = 0
    byte: int = 0


BEGINNING = Start()


@dataclass(frozen=True)
class RowSource:
    """Where rows come from: files, a hub dataset at a commit, or standard input.

    Attributes:
        name: As it was given.
        split: Split of a folder or hub dataset.
        files: The files, in order; none of a hub dataset and of standard input.
        commit: Commit of a hub dataset.
    """

    name: str
    split: str = "train"
    files: tuple[Path, ...] = ()
    commit: str | None = None

    @classmethod
    def find(cls, name: str | Path, split: str | None = None, revision: str | None = None) -> RowSource:
        """What a name stands for, as Open Instruct's mixer reads it.

        Args:
            name: A file with one of `SUFFIXES`, a folder that `datasets` can load, a hub name, or "-" for JSON lines on
                standard input.
            split: Split of a folder or a hub dataset; "train" when None. A file has only "train".
            revision: Commit, branch or tag of a hub dataset; its default branch when None.

        Raises:
            UsageError: There is no such file, folder, dataset or split, or the format is not supported.
        """
        path, name = Path(name), str(name)
        if name == STDIN:
            return cls(name)
        if path.is_file():
            if split not in (None, "train"):
                raise UsageError(f"{path} is a single file, which only has the split 'train', got {split!r}")
            return cls(name, files=(_known(path),))
        if path.is_dir():
            return cls(name, split or "train", _files_of(path, folder_splits(path), split or "train"))
        if path.is_absolute() or name.endswith(SUFFIXES) or name.startswith((".", "~")):
            raise UsageError(f"no such file or folder: {path}")
        return cls(name, split or "train", commit=hub_revision(name, revision))

    @classmethod
    def find_all(cls, name: str | Path) -> list[RowSource]:
        """Every split of what a name stands for; raises as `find`, and where a folder has data that no split reads."""
        path, name = Path(name), str(name)
        if path.is_dir():
            splits = folder_splits(path)
            if left_out := _in_no_split(path, splits):
                raise UsageError(
                    f"of the folder {path}, the datasets library reads no {', '.join(left_out[:3])}"
                    f"{' and others' if len(left_out) > 3 else ''}; give the files one by one"
                )
            return [cls(name, split, _files_of(path, splits, split)) for split in splits or ["train"]]
        found = cls.find(name)
        if found.files or name == STDIN:
            return [found]
        return [replace(found, split=split) for split in hub_splits(name, found.commit)]

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Stream the rows.

        Args:
            columns: Columns that are needed; None reads all. Of a parquet file those of them that exist are read, other
                files are read whole, a hub dataset has to be parquet and to have them all.

        Raises:
            FlipError: A hub dataset stops in the middle.
        """
        if self.files:
            return self._files_rows(columns)
        if self.name == STDIN:
            return _json_lines(sys.stdin.buffer, sys.stdin.buffer, self.name, BEGINNING)
        return _numbered(read_hub(self.name, self.split, columns, self.commit), self.name)

    def size(self) -> int | None:
        """Rows of parquet files or a hub dataset, else bytes; None where that is not known. For progress."""
        if self.files:
            return sum(map(_file_size, self.files))
        return None if self.name == STDIN else num_hub_rows(self.name, self.split, self.commit)

    def num_rows(self) -> int | None:
        """How many rows there are, or None where that would take reading them."""
        return self.size() if all(file.suffix == ".parquet" for file in self.files) else None

    def _files_rows(self, columns: Sequence[str] | None) -> Iterator[Row]:
        before = 0
        for file in self.files:
            for row in read_file(file, columns):
                yield row._replace(position=before + row.position) if before else row
            before += _file_size(file)


def read_rows(
    name: str | Path,
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
) -> Iterator[Row]:
    """Stream the rows of a dataset: see `RowSource.find` and `RowSource.rows`."""
    return RowSource.find(name, split, revision).rows(columns)


def _files_of(folder: Path, splits: Mapping[str, Sequence[Path]], split: str) -> tuple[Path, ...]:
    if split not in splits:
        raise UsageError(f"{folder} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    return tuple(map(_known, splits[split]))


def _in_no_split(folder: Path, splits: Mapping[str, Sequence[Path]]) -> list[str]:
    """Files with rows that belong to no split of a folder, as names in it."""
    read = {file.resolve() for files in splits.values() for file in files}
    found = sorted(file for file in folder.rglob("*") if file.name.endswith(ROW_SUFFIXES) and file.is_file())
    inside = [(file, file.relative_to(folder)) for file in found if file.resolve() not in read]
    return [
        str(name)
        for file, name in inside
        if not any(part.startswith(".") for part in name.parts) and (file.suffix != ".json" or _is_array(file))
    ]


def read_file(path: Path, columns: Sequence[str] | None = None, start: Start = BEGINNING) -> Iterator[Row]:
    """Stream the rows of one file, from a row on where it is JSONL or parquet."""
    if path.suffix == ".parquet":
        return _numbered(read_parquet(path, columns, start.row), str(path), start.row)
    if path.suffix == ".json" and _is_array(path):
        return _json_array(path)
    if path.suffix == ".txt":
        return _text_lines(path)
    return _read_lines(path, start)


def _file_size(path: Path) -> int:
    return num_parquet_rows(path) if path.suffix == ".parquet" else path.stat().st_size


def _known(path: Path) -> Path:
    if not path.name.endswith(SUFFIXES):
        raise UsageError(f"{path} is no {', '.join(SUFFIXES)} file")
    return path


def _numbered(rows: Iterable[dict[str, Any]], source: str, before: int = 0) -> Iterator[Row]:
    for number, columns in enumerate(rows, start=before + 1):
        yield Row(source, number, columns, position=number)


def _read_lines(path: Path, start: Start) -> Iterator[Row]:
    with path.open("rb") as file:
        lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        lines.seek(start.byte)
        yield from _json_lines(lines, file, str(path), start)


def _json_lines(lines: Iterable[bytes], file: BinaryIO, source: str, start: Start) -> Iterator[Row]:
    """JSON lines of `file`, which may be their compressed form: then positions are its bytes."""
    position = start.byte
    try:
        for number, line in enumerate(lines, start=start.line + 1):
            position = position + len(line) if lines is file else file.tell()
            if line.strip():
                yield _parse(line, source, number, position)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{source} is no complete gzip file: {error}") from error


def _parse(line: bytes, source: str, number: int, position: int) -> Row:
    try:
        return _object(json.loads(line), source, number, position)
    except UnicodeDecodeError:
        return Row(source, number, {}, "the line is not UTF-8", position)
    except (ValueError, RecursionError):
        return Row(source, number, {}, "the line is not valid JSON", position)


def _object(value: Any, source: str, number: int, position: int) -> Row:
    if isinstance(value, dict):
        return Row(source, number, value, "", position)
    return Row(source, number, {}, f"the row is not a JSON object but {type(value).__name__}", position)


def _is_array(path: Path) -> bool:
    """Whether a JSON file is an array of objects, rather than JSON lines under the wrong suffix."""
    with path.open("rb") as file:
        return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _json_array(path: Path) -> Iterator[Row]:
    """The objects of a JSON array, which is held in memory as a whole."""
    size = path.stat().st_size
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {str(error) or type(error).__name__:.300}") from error
    for number, value in enumerate(values, start=1):
        yield _object(value, str(path), number, size * number // len(values))


def _text_lines(path: Path) -> Iterator[Row]:
    position = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            position += len(line)
            if line.strip():
                yield _prompt(line, str(path), number, position)


def _prompt(line: bytes, source: str, number: int, position: int) -> Row:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16
        return Row(source, number, {}, "the line is not UTF-8", position)
    return Row(source, number, {"prompt": text.strip()}, "", position)
