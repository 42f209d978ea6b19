"""Scored rows as parquet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import MissingDependencyError
from open_instruct_flip.scoring.rows import INSTALL

ROWS_PER_GROUP = 16_384


def import_pyarrow() -> Any:
    """pyarrow, or MissingDependencyError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(f"parquet needs pyarrow: {INSTALL}") from error
    return pyarrow


def write_parquet(path: Path, outputs: Iterable[dict[str, Any]], *, integer_ids: bool) -> None:
    """Write output rows in pieces; ids become int64 where all are whole numbers, else text."""
    pyarrow = import_pyarrow()
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
