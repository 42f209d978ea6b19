"""Results that several callers need, computed once: while they are under way, and for as long as they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Kept(Generic[Result]):
    """The last results. Who asks for one that is under way on the same event loop waits for it.

    A failure is not kept. Pickled, it is empty.

    Args:
        size: How many results are kept; the one that was not asked for the longest goes first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: dict[Hashable, Result] = {}
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Task[Result]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self._size,)

    def forget(self) -> None:
        """Keep nothing of what was made so far."""
        self._results.clear()

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Result]]) -> tuple[Result, bool]:
        """The result for a key, and whether it was made for this caller: one of those who wait bears its cost."""
        if key in self._results:
            return self._keep(key, self._results.pop(key)), False
        place = (asyncio.get_running_loop(), key)
        new = place not in self._under_way
        if new:
            self._under_way[place] = task = asyncio.create_task(self._make(place, make))
            task.add_done_callback(_look_at)
        # Whoever is cancelled leaves the others theirs.
        return await asyncio.shield(self._under_way[place]), new

    async def _make(
        self, place: tuple[asyncio.AbstractEventLoop, Hashable], make: Callable[[], Coroutine[Any, Any, Result]]
    ) -> Result:
        try:
            return self._keep(place[1], await make())
        finally:
            del self._under_way[place]

    def _keep(self, key: Hashable, result: Result) -> Result:
        self._results[key] = result
        while len(self._results) > self._size:
            del self._results[next(iter(self._results))]
        return result


def _look_at(task: asyncio.Task[Any]) -> None:
    # asyncio reports an exception that nobody has looked at, though who had asked may be gone.
    if not task.cancelled():
        task.exception()
