"""Endpoints of which some are sick: the others do the work, and the sick ones are used again once they are well."""

import asyncio

import pytest
from misbehaving import INSTRUCTION, MisbehavingJudge, answers, fails, gives, hangs

from open_instruct_flip import FlipJudge
from open_instruct_flip.client import endpoints as endpoints_module
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
    assert (len(one.bodies), len(other.bodies)) == (80, 40), "the first of two idle ones is used as before"
    assert "the other endpoints are used" not in caplog.text


async def test_an_overflow_blames_no_endpoint():
    async with (
        MisbehavingJudge(*[fails(400, "maximum context length is 8 tokens")] * 20) as one,
        MisbehavingJudge() as other,
        judge_at(one, other, max_concurrency=1) as judge,
    ):
        await rollouts(judge, 40)
        seen = len(one.bodies)
        await rollouts(judge, 40, "later")
    assert seen >= 20
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

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(endpoints_module, "time", clock)
    return clock


BROKEN = RequestFailed(FailureKind.SERVER_ERROR, "a answered 500", retryable=True)


def two_of_which_one_is_broken():
    both = Endpoints(["a", "b"])
    broken = both.choose()
    for _ in range(FAILURES_TO_OPEN):
        both.note_failure(broken, BROKEN)
    return both, broken


def test_a_rest_ends_with_a_single_trial_whose_failure_doubles_it(clock):
    both, broken = two_of_which_one_is_broken()
    rests_s = []
    for _ in range(8):
        start = clock.now
        while both.choose() is not broken:
            clock.now += 0.5
        rests_s.append(clock.now - start)
        with broken.busy():
            assert [both.choose() is broken for _ in range(3)] == [False] * 3
            both.note_failure(broken, BROKEN)
    assert rests_s == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_request_that_has_failed_is_no_trial(clock):
    both, broken = two_of_which_one_is_broken()
    other = both.choose()
    clock.now += 2
    assert both.choose([other]) is other
    assert both.choose() is broken


def test_what_was_sent_before_the_rest_does_not_lengthen_it(clock):
    both, broken = two_of_which_one_is_broken()
    for _ in range(100):
        both.note_failure(broken, BROKEN)
    clock.now += 1.01
    assert both.choose() is broken


def test_an_overflow_in_a_trial_closes_the_breaker(clock):
    both, broken = two_of_which_one_is_broken()
    clock.now += 1.01
    with broken.busy():
        both.note_failure(broken, RequestFailed(FailureKind.CONTEXT_OVERFLOW, "too long"))
    assert broken.is_healthy
    assert broken.rest_s == 0


def test_a_rejection_in_a_trial_lengthens_no_rest(clock):
    both, broken = two_of_which_one_is_broken()
    clock.now += 1.01
    with broken.busy():
        both.note_failure(broken, RequestFailed(FailureKind.REJECTED, "temperature must be below 2"))
    assert broken.rest_s == 1
    assert both.choose() is broken


def test_no_second_trial_while_another_endpoint_is_asked_about_the_first(clock):
    both, broken = two_of_which_one_is_broken()
    clock.now += 1.01
    with broken.doubted():
        assert both.choose() is not broken
    assert both.choose() is broken


def test_a_success_closes_the_breaker(clock):
    both, broken = two_of_which_one_is_broken()
    clock.now += 1.01
    both.note_success(broken)
    both.note_failure(broken, BROKEN)
    assert broken.is_healthy
