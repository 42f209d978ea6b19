"""Pieces of work on a Ray cluster: Ray Data spreads them over judging processes, and brings results back in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from open_instruct_flip.errors import MissingDependencyError, install_line
from open_instruct_flip.judges.base import Judge


def spread(
    ray: Any,
    pieces: Sequence[dict[str, Any]],
    worker: type,
    arguments: Callable[[Judge], tuple[Any, ...]],
    judge: Judge,
    max_workers: int,
) -> Iterator[dict[str, Any]]:
    """What the workers make of each piece, in order. Ray is that of `RAY_ADDRESS`, or a local one.

    Args:
        ray: The library, see `import_ray`.
        pieces: The pieces as rows, at least one.
        worker: A class whose instances turn a batch of one row into a batch of one row.
        arguments: What the worker is made with, from its share of the judge.
        judge: The judge; its requests in flight are divided among the workers.
        max_workers: Most processes.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(ignore_reinit_error=True, logging_level=logging.WARNING)
    workers = min(
        max_workers,
        len(pieces),
        judge.client.config.max_concurrency,  # of more workers some would have no request left to send
        max(1, int(ray.cluster_resources().get("CPU", 1))),
    )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    made = ray.data.from_items(list(pieces), override_num_blocks=len(pieces)).map_batches(
        worker,
        fn_constructor_args=arguments(_shared(judge, workers)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    return iter(made.iter_rows())


def import_ray() -> Any:
    """The `ray` library with its data part, or MissingDependencyError."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(f"--ray needs Ray Data: {install_line('ray')}") from error
    return ray


def _shared(judge: Judge, workers: int) -> Judge:
    """The judge for one of several workers: its share of the requests in flight, and the URLs that are known here.

    There are not more workers than requests in flight, and all shares together are not more either.
    """
    config = judge.client.config
    urls = [url for url in config.endpoints() if url is not None]
    shared = replace(
        config, max_concurrency=config.max_concurrency // workers, api_base=",".join(urls) or config.api_base
    )
    return judge.remade(shared)
