"""Many groups with a judge at once: started in order, a bounded number ahead, and finished in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

Result = TypeVar("Result")

RESPONSES_PER_SLOT = 8
"""Responses read ahead per request in flight, so that one slow answer does not hold up those behind it."""


async def in_order(
    started: Iterable[tuple[int, asyncio.Future[Result]]], max_concurrency: int
) -> AsyncIterator[Result]:
    """The results of work in the order in which it is started, with a bounded number of responses ahead.

    Args:
        started: Starts a group's judging each time it is asked for the next: its number of responses, and the future.
        max_concurrency: Requests in flight, of which the bound is a multiple.
    """
    window = RESPONSES_PER_SLOT * max_concurrency
    pending: deque[tuple[int, asyncio.Future[Result]]] = deque()
    ahead = 0
    try:
        for num_responses, work in started:
            pending.append((num_responses, work))
            ahead += num_responses
            while ahead >= window:
                ahead -= pending[0][0]
                yield await _first(pending)
        while pending:
            yield await _first(pending)
    finally:
        for _, work in pending:
            work.cancel()
        await asyncio.gather(*(work for _, work in pending), return_exceptions=True)


async def _first(pending: deque[tuple[int, asyncio.Future[Result]]]) -> Result:
    """The oldest result, once it is there."""
    result = await pending[0][1]
    pending.popleft()
    return result
