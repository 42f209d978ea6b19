"""Run asynchronous judging from synchronous code, a notebook's cell included."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_sync(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result.

    One event loop in a thread of its own serves all calls, so that connections are kept between them, and a
    loop that already runs in the caller's thread does not matter.
    """
    future = asyncio.run_coroutine_threadsafe(work, _background().loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Background:
    """An event loop in a thread of its own. `asyncio.run` ends it, and with it what was opened on it."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="flip-judge", daemon=True)
        self._thread.start()
        self._running.wait()

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._running.set()
        await self._stop.wait()

    def stop(self) -> None:
        if self._thread.is_alive():  # it is not in a forked process
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=5)


@lru_cache(maxsize=1)
def _background() -> _Background:
    background = _Background()
    atexit.register(background.stop)
    return background


# A forked process has the loop, but not the thread that runs it.
os.register_at_fork(after_in_child=_background.cache_clear)
