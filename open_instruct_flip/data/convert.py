"""Convert chat data of any known shape to Open Instruct's RLVR schema, row by row and unfiltered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from open_instruct_flip.data.labels import FLIP_LABEL
from open_instruct_flip.data.prompts import BadRows, read_prompts
from open_instruct_flip.data.write import rlvr_row, rlvr_schema, temporary_folder
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.parquet import write_parquet


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
        rows: Rows of any known shape (`prompts.read_prompt`).
        out: The file, which appears only when it is complete.
        label: Verifier label of every row.
        first_turn: End each prompt with its first user turn instead of the last one.
        bad_rows: What to do with rows that fit no shape; by default they end the conversion.
        overwrite: Replace `out` if it exists.

    Raises:
        UsageError: `out` is no .jsonl or .parquet file, or exists already.
        FlipError: A row fits no known shape and is not to be skipped.
    """
    out = Path(os.path.realpath(out))  # a link stays one
    if out.suffix not in (".jsonl", ".parquet"):
        raise UsageError(f"--out ends in .jsonl or .parquet, got {out}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")
    prompts = read_prompts(rows, BadRows() if bad_rows is None else bad_rows, multi_turn=not first_turn)
    converted = (rlvr_row(prompt, label) for prompt in prompts)
    with temporary_folder(out.parent) as beside:
        if out.suffix == ".jsonl":
            count = _write_jsonl(beside / out.name, converted)
        else:
            count = write_parquet(beside / out.name, converted, rlvr_schema())
        (beside / out.name).replace(out)
    return count


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
