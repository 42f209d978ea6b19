"""The processes of a training run: what each holds a slice of is gathered, and an error on one is raised on all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from open_instruct_flip.errors import FlipError

T = TypeVar("T")

# Bounds a broken network, not the judge, for which the others wait. A process that ends is noticed at once.
EXCHANGE_TIMEOUT = timedelta(days=1)


@dataclass(frozen=True)
class _Failed:
    """Stands for what a rank's work raised: exceptions need not pickle."""

    error: str


class Ranks:
    """The training processes, of which this one is number `rank` of `size`; without torch.distributed the only one.

    Made on every rank in the same order, and so are the exchanges through one of them. Each has a process group of its
    own: the judges of a trainer run side by side on one event loop, and may finish in another order on each rank.
    The groups are on the CPU: exchanges run in threads, in which CUDA's current device is the first on every rank.
    """

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size, self._group = 0, 1, None
        if dist.is_available() and dist.is_initialized():
            self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if self.size > 1:
            self._group = dist.new_group(backend="gloo", timeout=EXCHANGE_TIMEOUT)

    async def gather(self, work: Awaitable[T]) -> list[T]:
        """What the work brings on each rank, by rank. It must pickle.

        Raises:
            Exception: What the work raised here.
            FlipError: It was another rank's that failed; the text names that rank and its error.
        """
        if self.size == 1:
            return [await work]
        try:
            mine = await work
        except Exception as error:  # whatever it is: the other ranks wait for this one
            await self._exchange(_Failed(f"{type(error).__name__}: {error}"))
            raise
        brought: list[T] = []
        for rank, outcome in enumerate(await self._exchange(mine)):
            if isinstance(outcome, _Failed):
                raise FlipError(f"rank {rank} of {self.size} failed: {outcome.error}")
            brought.append(outcome)
        return brought

    async def _exchange(self, mine: T | _Failed) -> list[T | _Failed]:
        import torch.distributed as dist

        of_all: list[T | _Failed] = [mine] * self.size
        # In a thread: the loop goes on for other reward functions.
        await asyncio.to_thread(dist.all_gather_object, of_all, mine, self._group)
        return of_all
