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
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="flip-judge", daemon=True)
    thread.start()
    atexit.register(_stop, loop, thread)
    return loop


# A forked process has the loop, but not the thread that runs it.
os.register_at_fork(after_in_child=_loop.cache_clear)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if not thread.is_alive():  # in a forked process
        return
    asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=5)
