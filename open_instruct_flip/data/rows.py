"""Rows of a dataset one at a time, each with the place it stands: files, folders and datasets of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError

INSTALL = "pip install 'open-instruct-flip[data]'"
SUFFIXES = (".jsonl", ".json", ".parquet", ".txt")


class Row(NamedTuple):
    """One row, or the reason why there is none.

    `number` counts from 1 within `source` and is the line number in JSONL and text files. `fault` says what makes
    the row unreadable; `columns` is empty then.
    """

    source: str
    number: int
    columns: dict[str, Any]
    fault: str = ""

    @property
    def place(self) -> str:
        return f"{self.source}:{self.number}"


def read_rows(
    path_or_name: str | Path,
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
) -> Iterator[Row]:
    """Stream the rows of a dataset as Open Instruct's mixer names it.

    Args:
        path_or_name: A JSONL, JSON, parquet or text file, a folder that `datasets` can load, or a hub name.
        split: Split of a folder or a hub dataset; "train" when None. A file has only "train".
        columns: Columns that are needed; None reads all. Of a parquet file those of them that exist are read, other
            files are read whole, a hub dataset has to be parquet and to have them all.
        revision: Commit, branch or tag of a hub dataset.

    Raises:
        UsageError: There is no such file, folder, dataset or split, or the format is not supported.
        FlipError: A hub dataset stops in the middle.
    """
    path = Path(path_or_name)
    if path.is_file():
        if split not in (None, "train"):
            raise UsageError(f"{path} is a single file, which only has the split 'train', got {split!r}")
        return read_file(path, columns)
    if path.is_dir():
        files = folder_files(path, split or "train")
        return (row for file in files for row in read_file(file, columns))
    if path.is_absolute() or path.suffix in SUFFIXES or str(path_or_name).startswith((".", "~")):
        raise UsageError(f"no such file or folder: {path}")
    return _read_hub(str(path_or_name), split or "train", columns, revision)


def row_count(paths_or_names: Iterable[str], split: str) -> int | None:
    """How many rows there are in all, or None where that would take reading them. For progress bars."""
    try:
        counts = [_row_count(path_or_name, split) for path_or_name in paths_or_names]
    except Exception:  # whatever is wrong with the data, reading its rows says so, with the place
        return None
    return None if None in counts else sum(filter(None, counts))


def _row_count(path_or_name: str, split: str) -> int | None:
    import pyarrow.parquet as parquet

    path = Path(path_or_name)
    if not path.exists():
        splits = import_datasets().load_dataset_builder(path_or_name).info.splits or {}
        return splits[split].num_examples if split in splits else None
    files = folder_files(path, split) if path.is_dir() else [path]
    if any(file.suffix != ".parquet" for file in files):
        return None
    return sum(parquet.read_metadata(file).num_rows for file in files)


def hub_revision(name: str, revision: str | None = None) -> str:
    """The commit a hub dataset is at. UsageError when the hub has no such dataset or can't be reached."""
    import_datasets()
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except Exception as error:  # the hub's client raises errors of several libraries without a common base
        raise UsageError(f"{name} is no file or folder, and the hub says: {_one_line(error)}") from error


def read_file(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Stream the rows of one file. UsageError when its suffix is none of `SUFFIXES`."""
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix == ".jsonl":
        return _read_jsonl(path)
    if path.suffix == ".json":
        return _read_json(path)
    if path.suffix == ".txt":
        return _read_lines(path)
    raise UsageError(f"{path} is no {', '.join(SUFFIXES)} file")


def folder_files(folder: Path, split: str) -> list[Path]:
    """The files that `datasets.load_dataset(folder, split=split)` reads, in its order."""
    datasets = import_datasets()
    try:
        data_files = datasets.load_dataset_builder(str(folder)).config.data_files
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(f"the datasets library can't load the folder {folder}: {_one_line(error)}") from error
    if not data_files or split not in data_files:
        raise UsageError(f"{folder} has no split {split!r}; it has {', '.join(map(str, data_files or ())) or 'none'}")
    return [Path(file) for file in data_files[split]]


def import_datasets() -> Any:
    """The `datasets` library, or MissingDependencyError."""
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(f"reading datasets needs the datasets library: {INSTALL}") from error
    return datasets


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parse(line, str(path), number)


def _parse(line: bytes, source: str, number: int) -> Row:
    try:
        return _row(json.loads(line), source, number)
    except UnicodeDecodeError:
        return Row(source, number, {}, "the line is not UTF-8")
    except (ValueError, RecursionError):
        return Row(source, number, {}, "the line is not valid JSON")


def _row(value: Any, source: str, number: int) -> Row:
    if isinstance(value, dict):
        return Row(source, number, value)
    return Row(source, number, {}, "the row is not a JSON object")


def _read_json(path: Path) -> Iterator[Row]:
    """A JSON array of objects, which is held in memory as a whole, or JSON lines under the wrong suffix."""
    with path.open("rb") as file:
        first = file.read(64).lstrip()[:1]
    if first != b"[":
        yield from _read_jsonl(path)
        return
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {_one_line(error)}") from error
    for number, value in enumerate(values, start=1):
        yield _row(value, str(path), number)


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield Row(str(path), number, {"prompt": line.decode("utf-8", "replace").strip()})


def _read_parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError(f"reading {path} needs pyarrow: {INSTALL}") from error
    number = 0
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            chosen = None if columns is None else [name for name in file.schema_arrow.names if name in columns]
            for batch in file.iter_batches(batch_size=256, columns=chosen, use_threads=False):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, value)
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is no readable parquet file (after row {number}): {_one_line(error)}") from error


def _read_hub(name: str, split: str, columns: Sequence[str] | None, revision: str | None) -> Iterator[Row]:
    datasets = import_datasets()
    options: dict[str, Any] = {"columns": list(columns)} if columns else {}
    # Offline, a dataset can only come from the library's cache, which it does not stream from. Online, asking for the
    # revision first fails at once where the library would try again for half a minute.
    offline = datasets.config.HF_HUB_OFFLINE
    commit = revision if offline else hub_revision(name, revision)
    try:
        rows = datasets.load_dataset(name, split=split, revision=commit, streaming=not offline, **options)
    except Exception as error:  # as in hub_revision
        raise UsageError(f"{name} is no file or folder, and the datasets library says: {_one_line(error)}") from error
    return _number_hub_rows(name, rows)


def _number_hub_rows(name: str, rows: Iterable[Any]) -> Iterator[Row]:
    number = 0
    try:
        for number, value in enumerate(rows, start=1):
            yield Row(name, number, value)
    except Exception as error:  # as in hub_revision
        raise FlipError(f"reading {name} stopped after row {number}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.300}"
