"""Several requests at once, of which none goes on when another has shown that all are senseless."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run coroutines at the same time.

    Returns:
        Their results, in order.

    Raises:
        BaseException: The first error of any of them, as it is. The others are cancelled, and have ended by then:
            `asyncio.gather` lets them go on, and `asyncio.TaskGroup` wraps the error in a group.
    """
    tasks = [asyncio.ensure_future(one) for one in _made(work)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _made(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Coroutine[Any, Any, Result]]:
    """All coroutines before any of them starts; where one can't be made, those before it never run."""
    made: list[Coroutine[Any, Any, Result]] = []
    try:
        made.extend(work)
    except BaseException:
        for one in made:
            one.close()
        raise
    return made
