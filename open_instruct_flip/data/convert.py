"""Convert chat data of any known shape to Open Instruct's RLVR schema, row by row and unfiltered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from open_instruct_flip.data.bad_rows import BadRows, read_prompts
from open_instruct_flip.data.labels import FLIP_LABEL
from open_instruct_flip.data.rows import Row
from open_instruct_flip.data.write import ParquetRows, rlvr_row, temporary_folder
from open_instruct_flip.errors import UsageError

ROWS_PER_PIECE = 1000


def convert(
    rows: Iterable[Row],
    out: Path,
    *,
    label: str = FLIP_LABEL,
    first_turn: bool = False,
    bad_rows: BadRows | None = None,
    overwrite: bool = False,
) -> int:
    """Write rows as one JSONL or parquet file and return how many there are; memory stays flat.

    Args:
        rows: Rows of any known shape (`shapes.read_prompt`).
        out: The file, which appears only when it is complete.
        label: Verifier label of every row.
        first_turn: End each prompt with its first user turn instead of the last one.
        bad_rows: What to do with rows that fit no shape; by default they end the conversion.
        overwrite: Replace `out` if it exists.

    Raises:
        UsageError: `out` is no .jsonl or .parquet file, or exists already.
        FlipError: A row fits no known shape and is not to be skipped.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise UsageError(f"--out ends in .jsonl or .parquet, got {out}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")
    prompts = read_prompts(rows, BadRows() if bad_rows is None else bad_rows, multi_turn=not first_turn)
    converted = (rlvr_row(prompt, label) for prompt in prompts)
    with temporary_folder(out.parent) as beside:
        write = _write_jsonl if out.suffix == ".jsonl" else _write_parquet
        count = write(beside / out.name, converted)
        (beside / out.name).replace(out)
    return count


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with ParquetRows(path) as file:
        for piece in _pieces(iter(rows)):
            file.write(piece)
            count += len(piece)
    return count


def _pieces(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while piece := list(itertools.islice(rows, ROWS_PER_PIECE)):
        yield piece
