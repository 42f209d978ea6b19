"""What can be seen to fail before any request."""

from __future__ import annotations

from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.identity import check_cache
from open_instruct_flip.rows.files import RowSource
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.output import check_suffix


def check_inputs(source: RowSource, out: Path | None, judge: Judge, config: ScoreConfig) -> None:
    """Raise UsageError for a run that can't work; `out` is None for standard output."""
    if out is not None:
        _check_out(source, out, config)
    if config.ray and not _is_readable_in_pieces(source):
        raise UsageError(f"--ray reads a .jsonl or .parquet file in pieces, and no {source.name}")
    check_cache(judge)


def _check_out(source: RowSource, out: Path, config: ScoreConfig) -> None:
    check_suffix(out)
    if not out.exists():
        return
    if any(out.samefile(file) for file in source.files):
        raise UsageError(f"{out} is the input itself; choose another OUT")
    if not config.overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")


def _is_readable_in_pieces(source: RowSource) -> bool:
    return len(source.files) == 1 and source.files[0].suffix in (".jsonl", ".parquet")
