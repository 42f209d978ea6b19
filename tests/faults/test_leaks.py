"""Nothing is left behind by many calls, good and bad: no connection, no task, no memory of them."""

import asyncio
import gc
import os

import pytest
from misbehaving import INSTRUCTION, VERDICT, MisbehavingJudge, answers, fails, gives, hangs, resets

from open_instruct_flip import FlipJudge
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest

CONVERSATION = [{"role": "user", "content": INSTRUCTION}]
# How many calls; the full measure of 50,000 is run by hand.
CALLS = {
    "direct": int(os.environ.get("FLIP_TEST_CALLS", "1000")),
    "litellm": int(os.environ.get("FLIP_TEST_CALLS", "300")),
}
IN_FLIGHT = 32


@pytest.mark.parametrize("transport", CALLS)
async def test_calls_leave_nothing_behind(transport):
    kinds = [answers(), fails(500), answers("no JSON"), resets(), gives(b"{"), fails(429, Retry_After="0"), answers()]
    number = iter(range(10**9))

    async def misbehave(writer):
        await kinds[next(number) % len(kinds)](writer)

    async with MisbehavingJudge(then=misbehave) as server:
        judge = FlipJudge(
            "hosted_vllm/j", server.url, judge_transport=transport, max_attempts=2, retry_wait_s=0.001,
            max_concurrency=IN_FLIGHT, reply_contract="free")  # fmt: skip
        rewards = []
        for start in range(0, CALLS[transport], 100):
            rewards += await judge.score(CONVERSATION, [f"response {start + n}" for n in range(100)])
            server.bodies.clear()  # what the double remembers is no leak
            server.headers.clear()
            if start == 0:
                first = left_behind()
        assert len(rewards) == CALLS[transport]
        assert all((reward.score is None) != (reward.error is None) for reward in rewards)
        assert {1.0, None} == {reward.score for reward in rewards}
        del rewards
        last = left_behind()
        # Connections in the pool may differ from one moment to the next, never by more than what can be in flight.
        assert last["files"] - first["files"] <= 2 * IN_FLIGHT, (first, last)
        assert last["tasks"] - first["tasks"] <= 2 * IN_FLIGHT, (first, last)
        assert last["objects"] - first["objects"] < 20_000, (first, last)
        await judge.aclose()
    await asyncio.sleep(0.05)
    closed = left_behind()
    assert closed["files"] <= first["files"]
    assert closed["tasks"] <= 1 + IN_FLIGHT, "only this test, and connections that the server has yet to see closed"


async def test_cancelled_calls_free_their_slots_and_connections():
    async with MisbehavingJudge(*[hangs] * IN_FLIGHT) as server:
        judge = FlipJudge(
            "hosted_vllm/j", server.url, judge_transport="direct", max_concurrency=IN_FLIGHT, reply_contract="free"
        )
        before = left_behind()
        group = asyncio.create_task(judge.score(CONVERSATION, [f"response {n}" for n in range(IN_FLIGHT)]))
        await server.received(IN_FLIGHT)
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        rewards = await judge.score(CONVERSATION, [f"later response {n}" for n in range(2 * IN_FLIGHT)])
        assert {reward.score for reward in rewards} == {1.0}
        await judge.aclose()
    await asyncio.sleep(0.05)
    assert left_behind()["files"] <= before["files"] + 2


@pytest.mark.parametrize("transport", CALLS)
async def test_who_comes_while_the_last_user_closes_gets_connections_that_are_open(transport):
    async with MisbehavingJudge() as server:
        config = ClientConfig("hosted_vllm/j", server.url, judge_transport=transport)
        leaving, coming = JudgeClient(config), JudgeClient(config)
        question = ChatRequest([{"role": "user", "content": INSTRUCTION}], max_tokens=8)
        await leaving.complete(question)
        _, completion = await asyncio.gather(leaving.aclose(), coming.complete(question))
        again = await coming.complete(question)
        await coming.aclose()
    assert completion.texts == again.texts == (VERDICT,)


@pytest.mark.parametrize("transport", CALLS)
async def test_closing_one_judge_leaves_another_like_it_its_connections(transport):
    before = left_behind()
    async with MisbehavingJudge() as server:
        ours, other = (
            FlipJudge("hosted_vllm/j", server.url, judge_transport=transport, reply_contract="free") for _ in range(2)
        )
        await other.score(CONVERSATION, ["the first response"])
        group = asyncio.create_task(ours.score(CONVERSATION, [f"response {n}" for n in range(IN_FLIGHT)]))
        await server.received(2)
        await other.aclose()
        rewards = [*await group, *await ours.score(CONVERSATION, ["a later response"])]
        assert {reward.score for reward in rewards} == {1.0}
        await ours.aclose()
    await asyncio.sleep(0.05)
    assert left_behind()["files"] <= before["files"] + 2


def test_a_closed_loop_takes_its_connections_with_it():
    async def judged():
        async with MisbehavingJudge() as server:
            judge = FlipJudge("hosted_vllm/j", server.url, judge_transport="direct", reply_contract="free")
            return await judge.score(CONVERSATION, ["a response"])

    asyncio.run(judged())
    before = open_files()
    for _ in range(5):
        asyncio.run(judged())
    assert open_files() <= before


def test_closed_loops_are_let_go():
    def loops():
        gc.collect()
        return sum(issubclass(type(thing), asyncio.AbstractEventLoop) for thing in gc.get_objects())

    async def judged():
        async with MisbehavingJudge() as server:
            return await FlipJudge("hosted_vllm/j", server.url, judge_transport="direct", reply_contract="free").score(
                CONVERSATION, ["r"]
            )

    asyncio.run(judged())
    before = loops()
    for _ in range(5):
        asyncio.run(judged())
    assert loops() <= before


def left_behind():
    gc.collect()
    return {"files": open_files(), "tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}


def open_files():
    return len(os.listdir("/proc/self/fd"))
