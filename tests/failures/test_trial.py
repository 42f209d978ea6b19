"""One trial of a judge that is down, for all who wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from open_instruct_flip.failures import trial


async def test_a_trial_that_everybody_left_is_not_handed_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    async def slow(judge: Any) -> list[Any]:
        await gate.wait()
        return []

    monkeypatch.setattr(trial, "trial", slow)
    monkeypatch.setattr(trial, "has_answered", lambda rewards: True)
    shared = trial.SharedTrial(None)  # type: ignore[arg-type]  # which the double never asks
    first = asyncio.create_task(shared.is_answered(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()

    async def next_one() -> bool:
        return await shared.is_answered(60)

    second = asyncio.create_task(next_one())
    await asyncio.sleep(0)
    gate.set()
    assert await second
    assert first.cancelled()
