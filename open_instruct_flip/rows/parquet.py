"""Parquet in pieces: rows in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line

ROWS_PER_READ = 256
ROWS_PER_GROUP = 4096


def read_parquet(path: Path, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[dict[str, Any]]:
    """Stream those of the columns that exist, all when None, from the row `first` on, which counts from 0.

    Raises:
        UsageError: The file is no parquet, or broken.
    """
    pyarrow, number = import_pyarrow(), 0
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            chosen = None if columns is None else [name for name in file.schema_arrow.names if name in columns]
            number, groups = _groups_from(file.metadata, first)
            for batch in file.iter_batches(ROWS_PER_READ, row_groups=groups, columns=chosen, use_threads=False):
                yield from batch.slice(min(max(0, first - number), len(batch))).to_pylist()
                number += len(batch)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # the last two: values that Python can't hold
        raise _unreadable(path, f" (after row {number})", error) from error


def num_parquet_rows(path: Path) -> int:
    """Rows of a parquet file; raises as `read_parquet` does."""
    pyarrow = import_pyarrow()
    try:
        count: int = pyarrow.parquet.read_metadata(path).num_rows
    except pyarrow.ArrowException as error:
        raise _unreadable(path, "", error) from error
    return count


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: Any) -> int:
    """Write rows in pieces; how many there were."""
    pyarrow, rows, count = import_pyarrow(), iter(rows), 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while piece := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(piece, schema=schema))
            count += len(piece)
    return count


def import_pyarrow() -> Any:
    """The `pyarrow` library with its parquet part, or MissingDependencyError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(f"parquet needs pyarrow: {install_line('data')}") from error
    return pyarrow


def _groups_from(metadata: Any, first: int) -> tuple[int, list[int]]:
    """The row groups from the one that holds row `first` on, and the number of that group's first row."""
    before = 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        if before + count > first:
            return before, list(range(group, metadata.num_row_groups))
        before += count
    return before, []


def _unreadable(path: Path, where: str, error: Exception) -> UsageError:
    return UsageError(f"{path} is no readable parquet file{where}: {' '.join(str(error).split())[:300]}")
