"""Parquet in pieces: rows in, scored rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import MissingDependencyError, UsageError

ROWS_PER_READ = 256
ROWS_PER_GROUP = 16_384


def read_parquet(path: Path, columns: Sequence[str], first: int = 0) -> Iterator[dict[str, Any]]:
    """Stream those of the columns that exist, from the row `first` on, which counts from 0.

    Raises:
        UsageError: The file is no parquet, or broken.
    """
    pyarrow, number = _import_pyarrow(), 0
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            chosen = [name for name in file.schema_arrow.names if name in columns]
            number, groups = _groups_from(file.metadata, first)
            for batch in file.iter_batches(ROWS_PER_READ, row_groups=groups, columns=chosen, use_threads=False):
                yield from batch.slice(min(max(0, first - number), len(batch))).to_pylist()
                number += len(batch)
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{path} is no readable parquet file (after row {number}): {reason}") from error


def num_parquet_rows(path: Path) -> int:
    """Rows of a parquet file; raises as `read_parquet` does."""
    pyarrow = _import_pyarrow()
    try:
        count: int = pyarrow.parquet.read_metadata(path).num_rows
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is no readable parquet file: {' '.join(str(error).split())[:300]}") from error
    return count


def write_parquet(path: Path, outputs: Iterable[dict[str, Any]], *, integer_ids: bool) -> None:
    """Write output rows in pieces; ids become int64 where all are whole numbers, else text."""
    pyarrow = _import_pyarrow()
    schema = _schema(pyarrow, integer_ids)
    rows = iter(outputs)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while piece := [_storable(row, integer_ids) for row in islice(rows, ROWS_PER_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(piece, schema=schema))


def _storable(row: dict[str, Any], integer_ids: bool) -> dict[str, Any]:
    texts = {name: _encodable(row[name]) for name in ("inferred_instruction", "detail")}
    return row | texts | {"id": row["id"] if integer_ids else _encodable(str(row["id"]))}


def _encodable(text: str | None) -> str | None:
    # A judge may write half a surrogate pair, which neither UTF-8 nor parquet can hold.
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


def _schema(pyarrow: Any, integer_ids: bool) -> Any:
    counts = [(name, pyarrow.int64()) for name in ("prompt_tokens", "completion_tokens", "requests")]
    return pyarrow.schema(
        [
            ("id", pyarrow.int64() if integer_ids else pyarrow.string()),
            ("index", pyarrow.int64()),
            ("reward", pyarrow.float64()),
            ("inferred_instruction", pyarrow.string()),
            ("precision", pyarrow.float64()),
            ("recall", pyarrow.float64()),
            ("error", pyarrow.string()),
            ("detail", pyarrow.string()),
            ("usage", pyarrow.struct(counts)),
            ("latency_s", pyarrow.float64()),
        ]
    )


def _groups_from(metadata: Any, first: int) -> tuple[int, list[int]]:
    """The row groups from the one that holds row `first` on, and the number of that group's first row."""
    before = 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        if before + count > first:
            return before, list(range(group, metadata.num_row_groups))
        before += count
    return before, []


def _import_pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("parquet needs pyarrow: pip install 'open-instruct-flip[data]'") from error
    return pyarrow
