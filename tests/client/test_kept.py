"""Results that are computed once: shared while under way, bounded, and never a failure."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from open_instruct_flip.client.kept import Kept


class Work:
    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    async def __call__(self) -> int:
        self.calls += 1
        await asyncio.sleep(0.01)
        if self.fails:
            raise RuntimeError("no")
        return self.calls


async def test_who_asks_at_the_same_time_shares_one_result_and_one_bears_it() -> None:
    kept, work = Kept[int](2), Work()
    assert sorted(await asyncio.gather(*(kept.get("a", work) for _ in range(5)))) == [(1, False)] * 4 + [(1, True)]
    assert await kept.get("a", work) == (1, False)


async def test_only_the_last_used_are_kept() -> None:
    kept, work = Kept[int](2), Work()
    for key in ("a", "b", "a", "c", "a"):
        await kept.get(key, work)
    assert work.calls == 3
    await kept.get("b", work)
    assert work.calls == 4


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    kept, work = Kept[int](2), Work()
    work.fails = True
    found = await asyncio.gather(*(kept.get("a", work) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["no"] * 3
    work.fails = False
    assert await kept.get("a", work) == (2, True)


async def test_who_is_cancelled_leaves_the_others_their_result() -> None:
    kept, work = Kept[int](2), Work()
    first, second = (asyncio.create_task(kept.get("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == (1, False)
    with pytest.raises(asyncio.CancelledError):
        await first


def test_loops_one_after_another_use_what_is_there_and_a_pickle_is_empty() -> None:
    kept, work = Kept[int](2), Work()
    assert asyncio.run(kept.get("a", work)) == (1, True)
    assert asyncio.run(kept.get("a", work)) == (1, False)
    assert asyncio.run(pickle.loads(pickle.dumps(kept)).get("a", work)) == (2, True)
