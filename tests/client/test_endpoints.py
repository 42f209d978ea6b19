"""Endpoints of which some are sick: the others do the work, and the sick ones are used again once they are well."""

import asyncio
import os
import random
from contextlib import AsyncExitStack

import pytest
from misbehaving import INSTRUCTION, MisbehavingJudge, answers, fails, gives, hangs

from open_instruct_flip import FlipJudge
from open_instruct_flip.client import endpoints as endpoints_module
from open_instruct_flip.client.chance import CHANCE
from open_instruct_flip.client.endpoints import FAILURES_TO_OPEN, Endpoints
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import JudgeRefusedError
from open_instruct_flip.rewards import FailureKind

CONVERSATION = [{"role": "user", "content": INSTRUCTION}]
GROUP_SIZE = 8


def after(duration_s, behave):
    async def behave_late(writer):
        await asyncio.sleep(duration_s)
        await behave(writer)

    return behave_late


SICK = {
    "500": after(0.003, fails(500)),
    "502 page of a gateway": after(0.003, gives(b"<html>bad gateway", "502 Bad", "text/html")),
    "404": after(0.003, fails(404)),
    "401": after(0.003, fails(401)),
    "400": after(0.003, fails(400)),
    "422": after(0.003, fails(422)),
    "302": after(0.003, fails(302, Location="/login")),
    "405": after(0.003, fails(405)),
    "broken JSON": after(0.003, gives(b'{"choices": [')),
    "no answer": hangs,
}
WELL = after(0.05, answers())


def judge_at(*servers, **options):
    options = {"judge_transport": "direct", "retry_wait_s": 0.01} | options
    return FlipJudge("hosted_vllm/j", ",".join(server.url for server in servers), **options, reply_contract="free")


async def rollouts(judge, count, name="response"):
    texts = [f"{name} {number}" for number in range(count)]
    groups = [texts[start : start + GROUP_SIZE] for start in range(0, count, GROUP_SIZE)]
    judged = await asyncio.gather(*(judge.score(CONVERSATION, group) for group in groups))
    return [reward for group in judged for reward in group]


def failed(rewards):
    return [reward for reward in rewards if reward.score is None]


@pytest.mark.parametrize("sickness", SICK)
async def test_a_sick_endpoint_costs_few_requests_and_no_rollouts(sickness):
    async with (
        MisbehavingJudge(then=SICK[sickness]) as sick,
        MisbehavingJudge(then=WELL) as well,
        judge_at(sick, well, max_concurrency=256, timeout_s=2.0 if sickness == "no answer" else 60.0) as judge,
    ):
        rewards = await rollouts(judge, 1000)
    assert len(failed(rewards)) <= 10
    assert len(sick.bodies) <= 300
    assert len(well.bodies) == 1000 - len(failed(rewards))


async def test_the_attempt_after_a_failure_goes_elsewhere_and_at_once():
    async with (
        MisbehavingJudge(then=fails(500)) as sick,
        MisbehavingJudge() as well,
        judge_at(sick, well, retry_wait_s=30.0) as judge,
        asyncio.timeout(10),
    ):
        rewards = await rollouts(judge, 20)
    assert failed(rewards) == []


async def test_a_request_that_every_endpoint_rejects_is_at_fault_itself_and_blames_none(caplog):
    async with (
        MisbehavingJudge(*[fails(400)] * 40) as one,
        MisbehavingJudge(*[fails(422)] * 40) as other,
        judge_at(one, other, max_concurrency=1) as judge,
    ):
        rewards = await rollouts(judge, 40)
        later = await rollouts(judge, 40, "later")
    assert [(reward.error, reward.usage.requests) for reward in rewards] == [(FailureKind.REJECTED, 2)] * 40
    assert failed(later) == []
    assert min(len(one.bodies), len(other.bodies)) > 40, "both are used as before"
    assert "the other endpoints are used" not in caplog.text


async def test_an_overflow_blames_no_endpoint():
    async with (
        MisbehavingJudge(*[fails(400, "maximum context length is 8 tokens")] * 10) as one,
        MisbehavingJudge() as other,
        judge_at(one, other, max_concurrency=1) as judge,
    ):
        await rollouts(judge, 40)
        seen = len(one.bodies)
        await rollouts(judge, 40, "later")
    assert seen >= 10
    assert len(one.bodies) > seen


async def test_an_endpoint_that_rejects_what_another_takes_is_named_in_a_warning(caplog):
    async with (
        MisbehavingJudge(then=fails(400, "no chat template")) as sick,
        MisbehavingJudge() as well,
        judge_at(sick, well, max_concurrency=1) as judge,
    ):
        rewards = await rollouts(judge, 40)
    assert failed(rewards) == []
    assert len(sick.bodies) <= FAILURES_TO_OPEN + 2
    assert f"{sick.url} answered 400: no chat template, which another endpoint took; the other endpoints" in caplog.text


async def test_a_rate_limit_moves_the_load_and_is_no_failure():
    async with (
        MisbehavingJudge(then=fails(429, Retry_After="20")) as limited,
        MisbehavingJudge() as other,
        judge_at(limited, other, max_concurrency=4) as judge,
        asyncio.timeout(15),
    ):
        rewards = await rollouts(judge, 40)
    assert failed(rewards) == []
    assert len(limited.bodies) <= 4


async def test_a_healed_endpoint_is_used_again(monkeypatch):
    monkeypatch.setattr(endpoints_module, "FIRST_REST_S", 0.05)
    async with (
        MisbehavingJudge(*[fails(500)] * 5) as healing,
        MisbehavingJudge() as other,
        judge_at(healing, other, max_concurrency=4) as judge,
    ):
        rewards = await rollouts(judge, 40)
        for number in range(20):
            await asyncio.sleep(0.05)
            rewards += await rollouts(judge, 8, f"later {number}")
    assert failed(rewards) == []
    assert len(healing.bodies) > 40


@pytest.mark.parametrize("fault", [500, 503])
async def test_one_endpoint_alone_gets_every_request_however_often_it_failed(fault):
    async with (
        MisbehavingJudge(*[fails(fault)] * 30) as server,
        judge_at(server, max_concurrency=1, max_attempts=2) as judge,
    ):
        rewards = [(await judge.score(CONVERSATION, [f"response {number}"]))[0] for number in range(20)]
    assert [reward.score for reward in rewards] == [None] * 15 + [1.0] * 5
    assert len(server.bodies) == 35


async def test_processes_with_few_requests_in_flight_use_all_endpoints():
    async with AsyncExitStack() as running:
        servers = [await running.enter_async_context(MisbehavingJudge()) for _ in range(6)]
        urls = ",".join(server.url for server in servers)
        options = {"judge_transport": "direct", "max_concurrency": 1, "reply_contract": "free"}
        judges = [FlipJudge(f"hosted_vllm/process-{number}", urls, **options) for number in range(12)]
        await asyncio.gather(*(rollouts(judge, 10) for judge in judges))
    assert min(len(server.bodies) for server in servers) >= 4


async def test_endpoints_that_are_dead_together_cost_hardly_a_rollout():
    dead = [f"http://127.0.0.{number}:9/v1" for number in range(1, 25)]
    async with AsyncExitStack() as running:
        well = [(await running.enter_async_context(MisbehavingJudge(then=WELL))).url for _ in range(12)]
        options = {"judge_transport": "direct", "reply_contract": "free", "retry_wait_s": 0.5}
        judge = FlipJudge("hosted_vllm/j", ",".join(dead + well), **options)
        rewards = [reward for number in range(4) for reward in await rollouts(judge, GROUP_SIZE, f"group {number}")]
    assert len(failed(rewards)) <= 2


async def test_no_rollout_waits_for_the_trial_of_a_silent_endpoint(monkeypatch):
    monkeypatch.setattr(endpoints_module, "FIRST_REST_S", 0.05)
    async with (
        MisbehavingJudge(*[fails(500)] * FAILURES_TO_OPEN, then=hangs) as sick,
        MisbehavingJudge() as well,
        judge_at(sick, well, max_concurrency=1) as judge,
        asyncio.timeout(30),
    ):
        rewards = await rollouts(judge, 40)
        while len(sick.bodies) <= FAILURES_TO_OPEN:
            await asyncio.sleep(0.05)
            rewards += await rollouts(judge, 8, f"later {len(rewards)}")
    assert failed(rewards) == []


async def test_an_endpoint_that_rejects_its_trial_rests_again(monkeypatch):
    monkeypatch.setattr(endpoints_module, "FIRST_REST_S", 0.05)
    async with (
        MisbehavingJudge(*[fails(500)] * FAILURES_TO_OPEN, then=fails(400)) as sick,
        MisbehavingJudge() as well,
        judge_at(sick, well, max_concurrency=1) as judge,
    ):
        await rollouts(judge, 40)
        for number in range(20):
            await asyncio.sleep(0.02)
            await rollouts(judge, 8, f"later {number}")
    assert FAILURES_TO_OPEN < len(sick.bodies) < 10


async def test_where_all_are_sick_requests_still_go():
    async with (
        MisbehavingJudge(*[fails(500)] * 6) as one,
        MisbehavingJudge(*[fails(500)] * 6) as two,
        judge_at(one, two, max_concurrency=1, max_attempts=30) as judge,
    ):
        rewards = await rollouts(judge, 8)
    assert failed(rewards) == []


async def test_one_that_refuses_from_the_start_is_warned_of_and_passed_over(caplog):
    async with (
        MisbehavingJudge(then=fails(404)) as refusing,
        MisbehavingJudge(then=WELL) as other,
        judge_at(refusing, other) as judge,
    ):
        rewards = await rollouts(judge, 40)
    assert failed(rewards) == []
    assert f"{refusing.url} knows no model 'j'" in caplog.text


async def test_all_that_refuse_from_the_start_are_wrong_use():
    async with (
        MisbehavingJudge(then=fails(404)) as one,
        MisbehavingJudge(then=fails(401)) as two,
        judge_at(one, two) as judge,
    ):
        with pytest.raises(JudgeRefusedError):
            await rollouts(judge, 40)


class Clock:
    """The time that breakers go by."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


BROKEN = RequestFailed(FailureKind.SERVER_ERROR, "a answered 500", retryable=True)


def two_of_which_one_is_broken(clock):
    both = Endpoints(["a", "b"], clock)
    broken = both.choose()
    for _ in range(FAILURES_TO_OPEN):
        both.note_failure(broken, BROKEN)
    return both, broken


def test_a_rest_ends_with_a_single_trial_whose_failure_doubles_it(clock):
    both, broken = two_of_which_one_is_broken(clock)
    rests_s = []
    for _ in range(8):
        start = clock.now
        while both.due_for_trial() is not broken:
            assert both.choose() is not broken
            clock.now += 0.5
        rests_s.append(clock.now - start)
        with broken.busy():
            assert both.due_for_trial() is None
            both.note_failure(broken, BROKEN)
    assert rests_s == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_request_goes_to_no_endpoint_that_is_due_for_a_trial_unless_there_is_no_other(clock):
    both, broken = two_of_which_one_is_broken(clock)
    other = both.choose()
    clock.now += 2
    assert both.choose() is other
    assert both.choose([other]) is other
    both.note_failure(other, JudgeRefusedError("404"))
    assert both.choose() is broken


def test_what_was_sent_before_the_rest_does_not_lengthen_it(clock):
    both, broken = two_of_which_one_is_broken(clock)
    for _ in range(100):
        both.note_failure(broken, BROKEN)
    clock.now += 1.01
    assert both.due_for_trial() is broken


def test_an_overflow_in_a_trial_closes_the_breaker(clock):
    both, broken = two_of_which_one_is_broken(clock)
    clock.now += 1.01
    with broken.busy():
        both.note_failure(broken, RequestFailed(FailureKind.CONTEXT_OVERFLOW, "too long"))
    assert broken.is_healthy
    assert broken.rest_s == 0


SILENT = RequestFailed(FailureKind.TIMEOUT, "a did not answer", retryable=True)


def test_one_timeout_of_an_endpoint_that_answers_nothing_opens_the_breaker(clock):
    both = Endpoints(["a", "b"], clock)
    silent = both.choose()
    busy = both.choose([silent])
    clock.now += 60
    both.note_success(busy)
    for endpoint in (silent, busy):
        both.note_failure(endpoint, SILENT, asked_s=clock.now - 30)
    assert (silent.is_healthy, busy.is_healthy) == (False, True)


def test_requests_from_before_a_rest_do_not_lengthen_it_even_after_it(clock):
    both, broken = two_of_which_one_is_broken(clock)
    sent_s = clock.now - 1
    clock.now += 1.5
    for _ in range(10):
        both.note_failure(broken, SILENT, sent_s)
    assert broken.rest_s == 1
    assert both.due_for_trial() is broken


def test_the_attempt_after_a_failure_goes_to_none_that_has_been_silent_for_long(clock):
    several = Endpoints([str(number) for number in range(8)], clock)
    first, *_ = everyone = [several.choose() for _ in range(200)]
    silent = {first, next(e for e in everyone if e is not first)}
    clock.now += 60
    for endpoint in set(everyone) - silent:
        several.note_success(endpoint)
    assert {several.choose([first]) for _ in range(200)} == set(everyone) - silent


def test_equally_busy_endpoints_are_used_alike(clock):
    several = Endpoints([str(number) for number in range(100)], clock)
    assert len({several.choose() for _ in range(2000)}) == 100


def test_a_success_closes_the_breaker(clock):
    both, broken = two_of_which_one_is_broken(clock)
    clock.now += 1.01
    both.note_success(broken)
    both.note_failure(broken, BROKEN)
    assert broken.is_healthy


def test_choosing_and_waiting_draw_none_of_the_trainers_random_numbers():
    before = random.getstate()
    endpoints = Endpoints([f"http://judge-{number}" for number in range(40)])
    assert len({endpoints.choose().url for _ in range(200)}) > 1
    assert random.getstate() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_forked_processes_choose_differently():
    def drawn():
        receiving, sending = os.pipe()
        if os.fork() == 0:
            os.write(sending, repr(CHANCE.random()).encode())
            os._exit(0)
        os.wait()
        return os.read(receiving, 100)

    assert drawn() != drawn()
