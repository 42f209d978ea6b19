"""The same scoring on a Ray cluster: Ray Data spreads pieces of the input over judging processes, in order."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.errors import FlipError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.judging.on_ray import import_ray, spread
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.rows.files import RowSource, Start, read_file
from open_instruct_flip.rows.parquet import num_parquet_rows
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.groups import COLUMNS, read_groups
from open_instruct_flip.score.output import PartialOutput, StreamedOutput
from open_instruct_flip.score.run import score_groups, write_scored
from open_instruct_flip.score.summary import Summary

ROWS_PER_PIECE = 512


def score_file_on_ray(
    source: RowSource, output: PartialOutput | StreamedOutput, judge: Judge, config: ScoreConfig, watch: Watch
) -> Summary:
    """As `run.score_file`: the same output, resumed in the same way.

    Ray is that of `RAY_ADDRESS`, or a local one. The input is read by the workers, the output written here; so are the
    rows that an earlier run has left, and those of them judged whose request had failed.

    Raises:
        MissingDependencyError: Ray Data is not installed.
    """
    ray, (file,) = import_ray(), source.files
    with output:
        if isinstance(output, PartialOutput) and output.holds_more():
            left = takewhile(lambda _: output.holds_more(), source.rows(COLUMNS))
            asyncio.run(write_scored(islice(read_groups(left), config.limit), output, judge, config, watch))
        pieces = [
            start._asdict() | {"num_rows": count} for start, count in split(file, output.summary.num_rows, config.limit)
        ]
        for piece in _scored(ray, pieces, file, judge, config) if pieces else ():
            result = pickle.loads(piece["result"])
            if isinstance(result, FlipError):
                raise result
            output.append(result)
            watch(output.summary, piece["position"])
        if output.summary.failure_rate <= config.max_failure_rate:
            output.finish()
    return output.summary


def split(file: Path, num_done: int, limit: int | None = None) -> Iterator[tuple[Start, int]]:
    """Where each piece of the rows behind the first `num_done` starts, and how many rows it has."""
    if file.suffix == ".parquet":
        count = min(num_parquet_rows(file), math.inf if limit is None else limit)
        for first in range(num_done, int(count), ROWS_PER_PIECE):
            yield Start(first), min(ROWS_PER_PIECE, int(count) - first)
        return
    starts = islice(_line_starts(file), num_done, limit)
    while piece := list(islice(starts, ROWS_PER_PIECE)):
        yield piece[0], len(piece)


def _line_starts(file: Path) -> Iterator[Start]:
    number = position = 0
    with file.open("rb") as lines:
        for line_number, line in enumerate(lines):
            if line.strip():
                yield Start(number, line_number, position)
                number += 1
            position += len(line)


def _scored(ray: Any, pieces: list[dict[str, int]], file: Path, judge: Judge, config: ScoreConfig) -> Iterator[Any]:
    """The pieces' results, in order."""

    def arguments(share: Judge) -> tuple[Any, ...]:
        return str(file.resolve()), share, config

    return spread(ray, pieces, PieceScorer, arguments, judge, config.ray_workers)


class PieceScorer:
    """A Ray actor that reads and scores pieces of the input."""

    def __init__(self, file: str, judge: Judge, config: ScoreConfig) -> None:
        self._file = Path(file)
        self._judge = judge
        self._config = config

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the piece of a batch of one; the result is the output rows, or the error that ends the run."""
        row, line, byte, num_rows = (int(batch[name][0]) for name in ("row", "line", "byte", "num_rows"))
        result: list[Output] | FlipError
        try:
            position, result = run_sync(self._score(Start(row, line, byte), num_rows))
        except FlipError as error:
            position, result = 0, error
        return {"position": [position], "result": [pickle.dumps(result)]}

    async def _score(self, start: Start, num_rows: int) -> tuple[int, list[Output]]:
        groups = read_groups(islice(read_file(self._file, COLUMNS, start), num_rows), start.row)
        outputs: list[Output] = []
        position = 0
        async for group, of_group in score_groups(groups, self._judge, self._config):
            outputs += of_group
            position = group.position
        return position, outputs
