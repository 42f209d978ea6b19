"""The same judging on a Ray cluster: pieces of the items go to judging processes, the judgements are written here."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from typing import Any

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.errors import FlipError
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.run import judge_items
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.on_ray import import_ray, spread
from open_instruct_flip.rewards import Reward

ITEMS_PER_PIECE = 64


class RayJudging:
    """As `run.judge_items`, by at most so many processes.

    Raises:
        MissingDependencyError: Ray Data is not installed.
    """

    def __init__(self, max_workers: int) -> None:
        self._ray = import_ray()
        self._max_workers = max_workers

    async def __call__(
        self, items: Sequence[Item], judge: Judge, failures: FailureConfig
    ) -> AsyncIterator[tuple[Item, list[Reward]]]:
        parts = [items[start : start + ITEMS_PER_PIECE] for start in range(0, len(items), ITEMS_PER_PIECE)]
        pieces = [{"items": pickle.dumps(list(part))} for part in parts]
        if not pieces:
            return
        made = spread(self._ray, pieces, PieceJudge, lambda share: (share, failures), judge, self._max_workers)
        for row in made:
            result = pickle.loads(row["result"])
            if isinstance(result, FlipError):
                raise result
            for judged in result:
                yield judged
            await asyncio.sleep(0)  # Ray's iterator blocks the event loop, which notices Ctrl-C here


class PieceJudge:
    """A Ray actor that judges pieces of the items."""

    def __init__(self, judge: Judge, failures: FailureConfig) -> None:
        self._judge = judge
        self._failures = failures

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Judge the piece of a batch of one; the result is its items with their rewards, or the error that ends all."""
        result: list[tuple[Item, list[Reward]]] | FlipError
        try:
            result = run_sync(self._judged(pickle.loads(batch["items"][0])))
        except FlipError as error:
            result = error
        return {"result": [pickle.dumps(result)]}

    async def _judged(self, items: Sequence[Item]) -> list[tuple[Item, list[Reward]]]:
        return [judged async for judged in judge_items(items, self._judge, self._failures)]
