"""Work that runs together ends together."""

import asyncio

import pytest

from open_instruct_flip.client.together import together
from open_instruct_flip.errors import JudgeUnusableError


async def answer(number, wait_s=0.0):
    await asyncio.sleep(wait_s)
    return number


async def refuse():
    raise JudgeUnusableError("no such model")


async def test_results_come_in_order():
    assert await together(answer(n, 0.01 * (3 - n)) for n in range(3)) == [0, 1, 2]
    assert await together([]) == []


async def test_the_first_error_is_raised_plain_and_no_sibling_goes_on():
    went_on = []

    async def sibling(number):
        await asyncio.sleep(0.05)
        went_on.append(number)

    with pytest.raises(JudgeUnusableError, match="no such model"):
        await together([sibling(0), refuse(), sibling(1)])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(0.1)
    assert went_on == []


async def test_siblings_have_cleaned_up_when_the_error_arrives():
    cleaned = []

    async def sibling():
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    with pytest.raises(JudgeUnusableError):
        await together([sibling(), refuse()])
    assert cleaned == [True]


async def test_cancelling_the_whole_cancels_each():
    whole = asyncio.create_task(together([answer(1, 10), answer(2, 10)]))
    await asyncio.sleep(0)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_where_a_coroutine_cannot_be_made_none_starts():
    started = []

    async def sibling():
        started.append(True)

    def work():
        yield sibling()
        raise ValueError("no second one")

    with pytest.raises(ValueError, match="no second one"):
        await together(work())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(0)
    assert started == []
