"""The same scoring on a Ray cluster: Ray Data spreads pieces of the input over judging processes, in order."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.errors import FlipError, MissingDependencyError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.parquet import num_parquet_rows
from open_instruct_flip.score.partial import Output, PartialOutput
from open_instruct_flip.score.rows import Start, read_rows
from open_instruct_flip.score.run import Watch, score_rows
from open_instruct_flip.score.settings import reward_settings
from open_instruct_flip.score.summary import Summary

ROWS_PER_PIECE = 512


def score_file_on_ray(source: Path, out: Path, judge: Judge, config: ScoreConfig, watch: Watch) -> Summary:
    """As `run.score_file`: the same output, resumed in the same way, at the granularity of rows.

    Ray is that of `RAY_ADDRESS`, or a local one. The input is read by the workers, the output written here.

    Raises:
        MissingDependencyError: Ray Data is not installed.
    """
    ray = _import_ray()
    with PartialOutput(out, reward_settings(source, judge), restart=config.restart) as partial:
        for _ in partial.resume(read_rows(source)):
            break
        watch(partial.summary, partial.position)
        pieces = [asdict(start) | {"num_rows": count} for start, count in split(source, partial.summary.num_rows)]
        for piece in _scored(ray, pieces, source, judge, config.ray_workers) if pieces else ():
            result = pickle.loads(piece["result"])
            if isinstance(result, FlipError):
                raise result
            partial.append(result, piece["position"])
            watch(partial.summary, partial.position)
        partial.finish()
    return partial.summary


def split(source: Path, num_done: int) -> Iterator[tuple[Start, int]]:
    """Where each piece of the rows behind the first `num_done` starts, and how many rows it has."""
    if source.suffix == ".parquet":
        count = num_parquet_rows(source)
        for first in range(num_done, count, ROWS_PER_PIECE):
            yield Start(first), min(ROWS_PER_PIECE, count - first)
        return
    starts = islice(_line_starts(source), num_done, None)
    while piece := list(islice(starts, ROWS_PER_PIECE)):
        yield piece[0], len(piece)


def _line_starts(source: Path) -> Iterator[Start]:
    number = position = 0
    with source.open("rb") as lines:
        for line_number, line in enumerate(lines):
            if line.strip():
                yield Start(number, line_number, position)
                number += 1
            position += len(line)


def _scored(ray: Any, pieces: list[dict[str, int]], source: Path, judge: Judge, max_workers: int) -> Iterator[Any]:
    """The pieces' results, in order."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(ignore_reinit_error=True, logging_level=logging.WARNING)
    workers = min(max_workers, len(pieces), max(1, int(ray.cluster_resources().get("CPU", 1))))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    scored = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        PieceScorer,
        fn_constructor_args=(str(source.resolve()), _shared(judge, workers)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    return iter(scored.iter_rows())


def _shared(judge: Judge, workers: int) -> Judge:
    """The judge for one of several workers: its share of the requests in flight, and the URLs that are known here."""
    config = judge.client.config
    urls = [url for url in config.endpoints() if url is not None]
    share = math.ceil(config.max_concurrency / workers)
    shared = replace(config, max_concurrency=share, api_base=",".join(urls) or config.api_base)
    return type(judge).from_config(judge.config, shared)


class PieceScorer:
    """A Ray actor that reads and scores pieces of the input."""

    def __init__(self, source: str, judge: Judge) -> None:
        self._source = Path(source)
        self._judge = judge

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the piece of a batch of one; the result is the output rows, or the error that ends the run."""
        number, line, byte, num_rows = (int(batch[name][0]) for name in ("number", "line", "byte", "num_rows"))
        result: list[Output] | FlipError
        try:
            position, result = run_sync(self._score(Start(number, line, byte), num_rows))
        except FlipError as error:
            position, result = 0, error
        return {"position": [position], "result": [pickle.dumps(result)]}

    async def _score(self, start: Start, num_rows: int) -> tuple[int, list[Output]]:
        outputs: list[Output] = []
        position = 0
        async for row, of_row in score_rows(islice(read_rows(self._source, start), num_rows), self._judge):
            outputs += of_row
            position = row.position
        return position, outputs


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("--ray needs Ray Data: pip install 'open-instruct-flip[ray]'") from error
    return ray
