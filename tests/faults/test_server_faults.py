"""What a caller gets when the judge's server misbehaves: one retry layer, nothing lost, never a 0.0."""

import asyncio
import json
import os
import time

import pytest
from misbehaving import (
    INSTRUCTION,
    VERDICT,
    MisbehavingJudge,
    answers,
    completion,
    fails,
    gives,
    hangs,
    hangs_up,
    http,
    resets,
    sends,
    tires,
    trickles,
)

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import JudgeRefusedError, JudgeUnusableError
from open_instruct_flip.rewards import FailureKind

CONVERSATION = [{"role": "user", "content": INSTRUCTION}]
RESPONSE = "Wind, rain and the plough carry it away."
LONG_RESPONSE = " ".join(f"word{number}" for number in range(2000))
ATTEMPTS = 3
OK = http(json.dumps(completion()).encode())
TRANSPORTS = ["litellm", "direct"]

# name: (the server's behaviours, the reward's failure or None, requests that reach the server)
# A behaviour stands for all requests; of a list, each stands for one, and good answers follow.
FAULTS = {
    "none": (answers(), None, 1),
    "reset before the answer": (resets(), FailureKind.UNREACHABLE, ATTEMPTS),
    "reset in the middle of the body": (resets(OK[:-20]), FailureKind.UNREACHABLE, ATTEMPTS),
    "reset in the middle of the head": (resets(OK[:30]), FailureKind.UNREACHABLE, ATTEMPTS),
    "connection closed in the middle of the body": (hangs_up(OK[:-20]), FailureKind.UNREACHABLE, ATTEMPTS),
    "two resets, then well": ([resets(), resets(OK[:-20])], None, 3),
    "429 with Retry-After": ([fails(429, Retry_After="0.2")], None, 2),
    "429 without end": (fails(429, Retry_After="0"), FailureKind.RATE_LIMITED, ATTEMPTS),
    "429 with a date in Retry-After": ([fails(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")], None, 2),
    "500 without end": (fails(500), FailureKind.SERVER_ERROR, ATTEMPTS),
    "502 page of a proxy": (gives(b"<html>bad gateway", "502 Bad", "text/html"), FailureKind.SERVER_ERROR, ATTEMPTS),
    "burst of 500, 503": ([fails(500), fails(503)], None, 3),
    "408": ([fails(408)], None, 2),
    "400, another reason": (fails(400, "temperature must be below 2"), FailureKind.REJECTED, 1),
    "422": (fails(422, "extra field"), FailureKind.REJECTED, 1),
    "redirect": (gives(b"", "307 Moved", Location="http://127.0.0.1:9/"), FailureKind.SERVER_ERROR, ATTEMPTS),
    "405": (fails(405), FailureKind.SERVER_ERROR, ATTEMPTS),
    "410": (fails(410), FailureKind.SERVER_ERROR, ATTEMPTS),
    "page with status 200": (  # a login page, for example
        gives(b"<html>login</html>", content_type="text/html"),
        FailureKind.SERVER_ERROR,
        ATTEMPTS,
    ),
    "answer declared as text": (gives(completion(), content_type="text/plain"), None, 1),
    "half a JSON": (gives(json.dumps(completion()).encode()[:-30]), FailureKind.SERVER_ERROR, ATTEMPTS),
    "empty body": (gives(b""), FailureKind.SERVER_ERROR, ATTEMPTS),
    "JSON list": (gives(b"[]"), FailureKind.SERVER_ERROR, ATTEMPTS),
    "JSON null": (gives(b"null"), FailureKind.SERVER_ERROR, ATTEMPTS),
    "JSON nested without end": (gives(b"[" * 200_000), FailureKind.SERVER_ERROR, ATTEMPTS),
    "no UTF-8": (gives(b'{"choices": "\xff\xfe"}'), FailureKind.SERVER_ERROR, ATTEMPTS),
    "an error with status 200": (gives(b'{"error": {"message": "engine dead"}}'), FailureKind.SERVER_ERROR, ATTEMPTS),
    "no choices": (gives(completion() | {"choices": []}), FailureKind.SERVER_ERROR, ATTEMPTS),
    "choices null": (gives(completion() | {"choices": None}), FailureKind.SERVER_ERROR, ATTEMPTS),
    "no usage": (gives(completion() | {"usage": None}), None, 1),
    "text in reasoning_content": (answers(None, reasoning_content=VERDICT), None, 1),
    "text in reasoning": (answers(None, reasoning=VERDICT), None, 1),
    "a thought that was cut off": (answers(None, "length", reasoning=VERDICT), FailureKind.UNREADABLE_REPLY, 2),
    "no text": (answers(None), FailureKind.EMPTY_REPLY, 2),
    "white space": (answers(" \n "), FailureKind.EMPTY_REPLY, 2),
    "refusal in prose": (answers("I cannot help with that."), FailureKind.UNREADABLE_REPLY, 2),
    "cut off before the instruction": (answers('{"reasoning": "the resp', "length"), FailureKind.UNREADABLE_REPLY, 2),
    "cut off at the very end": (answers(VERDICT[:-2], "length"), None, 1),
    "10 MB": (answers("x" * 10_000_000), FailureKind.SERVER_ERROR, 1),
    "10 MB of error": (fails(500, "x" * 10_000_000), FailureKind.SERVER_ERROR, 1),
    "trickle within the time": (trickles(OK, 0.01, 20), None, 1),
    "broken HTTP": (sends(b"garbage\r\n\r\n"), FailureKind.SERVER_ERROR, ATTEMPTS),
}


def make_judge(url, transport="direct", **options):
    options = {"max_attempts": ATTEMPTS, "retry_wait_s": 0.01, "timeout_s": 60.0} | options
    return FlipJudge("hosted_vllm/j", url, judge_transport=transport, **options, reply_contract="free")


async def judged(url, transport, response=RESPONSE, **options):
    async with make_judge(url, transport, **options) as judge:
        (reward,) = await judge.score(CONVERSATION, [response])
    return reward


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_gives_its_failure_and_a_bounded_number_of_requests(fault, transport):
    behaviour, kind, requests = FAULTS[fault]
    first, then = (behaviour, None) if isinstance(behaviour, list) else ([], behaviour)
    async with MisbehavingJudge(*first, then=then) as server:
        reward = await judged(server.url, transport)
    assert reward.error == kind, reward.detail
    assert reward.score == (1.0 if kind is None else None)
    assert len(server.bodies) == requests
    assert reward.usage.requests == requests
    assert (reward.detail is None) == (kind is None)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("behaviour", [hangs, trickles(OK, 0.2, 100)], ids=["hang", "slow trickle"])
async def test_no_answer_in_time_is_a_timeout(transport, behaviour):
    async with MisbehavingJudge(then=behaviour) as server:
        reward = await judged(server.url, transport, timeout_s=0.5, max_attempts=2)
    assert (reward.error, reward.score, reward.usage.requests) == (FailureKind.TIMEOUT, None, 2)
    assert "0.5 s" in reward.detail


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_connection_is_used_that_a_server_is_about_to_close(transport):
    async with MisbehavingJudge(then=tires(after_s=4)) as server, make_judge(server.url, transport) as asked:
        await asked.score(CONVERSATION, [RESPONSE])
        await asyncio.sleep(4.2)
        (reward,) = await asked.score(CONVERSATION, [RESPONSE])
    assert reward.usage.requests == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_server_at_all(transport):
    async with MisbehavingJudge() as gone:
        pass
    reward = await judged(gone.url, transport)
    assert (reward.error, reward.usage.requests) == (FailureKind.UNREACHABLE, ATTEMPTS)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_retry_after_is_waited_for(transport):
    async with MisbehavingJudge(fails(429, Retry_After="0.4")) as server:
        started = time.monotonic()
        reward = await judged(server.url, transport)
    assert reward.score == 1.0
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_no_request_can_mend_is_raised(transport):
    for status, text in ((401, "key"), (403, "key"), (404, "'.*j'")):
        async with MisbehavingJudge(then=fails(status)) as server:
            with pytest.raises(JudgeRefusedError, match=text):
                await judged(server.url, transport)
        assert len(server.bodies) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_after_a_success_is_a_failure_like_another(status, transport):
    async with (
        MisbehavingJudge(answers(), *[fails(status)] * (ATTEMPTS + 1)) as server,
        make_judge(server.url, transport) as judge,
    ):
        rewards = [(await judge.score(CONVERSATION, [f"response {number}"]))[0] for number in range(3)]
    assert [reward.error for reward in rewards] == [None, FailureKind.REFUSED, None]
    assert [reward.usage.requests for reward in rewards] == [1, ATTEMPTS, 2]
    assert str(status) in rewards[1].detail
    assert "the judge had answered before" in rewards[1].detail


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_a_server_cannot_do_is_raised_even_after_a_success(transport):
    async with (
        MisbehavingJudge(answers(), then=fails(400, "unknown field prompt_logprobs")) as server,
        make_judge(server.url, transport) as judge,
    ):
        await judge.score(CONVERSATION, [RESPONSE])
        with pytest.raises(JudgeUnusableError, match="prompt_logprobs") as raised:
            await judge.score(CONVERSATION, [LONG_RESPONSE])
    assert not isinstance(raised.value, JudgeRefusedError)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_context_overflow_cuts_the_middle_of_the_response_and_nothing_else(transport):
    overflow = fails(400, "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens")
    async with MisbehavingJudge(overflow, overflow) as server:
        reward = await judged(server.url, transport, LONG_RESPONSE)
    assert (reward.score, reward.truncated, reward.usage.requests) == (1.0, True, 3)
    full, _, cut = [body["messages"] for body in server.bodies]
    assert cut[:-1] == full[:-1], "the judge's instructions changed"
    before, after = full[-1]["content"].split(LONG_RESPONSE)
    assert cut[-1]["content"].startswith(before + "word0 word1 ")
    assert cut[-1]["content"].endswith(" word1999" + after)
    assert "[...]" in cut[-1]["content"]
    assert len(cut[-1]["content"]) < 0.3 * len(full[-1]["content"])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_context_that_fits_nothing_ends_as_a_failure(transport):
    async with MisbehavingJudge(then=fails(400, "maximum context length is 8 tokens")) as server:
        reward = await judged(server.url, transport, LONG_RESPONSE)
    assert reward.error is FailureKind.CONTEXT_OVERFLOW
    assert reward.usage.requests == len(server.bodies) <= 8


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_of_three_endpoints_dead(transport):
    async with MisbehavingJudge() as dead, MisbehavingJudge() as one, MisbehavingJudge() as two:
        await dead.__aexit__()
        urls = ",".join(server.url for server in (dead, one, two))
        async with make_judge(urls, transport, max_concurrency=8) as judge:
            rewards = await judge.score(CONVERSATION, [f"response {number}" for number in range(60)])
    assert [reward.score for reward in rewards] == [1.0] * 60
    assert len(one.bodies) + len(two.bodies) == 60
    assert min(len(one.bodies), len(two.bodies)) >= 15


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_all_endpoints_dead(transport):
    async with MisbehavingJudge() as one, MisbehavingJudge() as two:
        pass
    async with make_judge(f"{one.url},{two.url}", transport) as judge:
        rewards = await judge.score(CONVERSATION, [f"response {number}" for number in range(10)])
    assert [(r.error, r.score, r.usage.requests) for r in rewards] == [(FailureKind.UNREACHABLE, None, ATTEMPTS)] * 10


OUTAGE_S = float(os.environ.get("FLIP_TEST_OUTAGE_S", "1.5"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_judge_that_dies_and_returns(transport):
    """Patient clients get every reward; impatient ones a failure for the time of the outage, and rewards after it."""

    async def outage(server):
        await asyncio.sleep(0.3)
        await server.__aexit__()
        await asyncio.sleep(OUTAGE_S)
        await server.__aenter__()

    async def rollouts(judge, name):
        rewards = []
        for number in range(int(20 * (OUTAGE_S + 1))):
            rewards += await judge.score(CONVERSATION, [f"{name} {number}"])
            await asyncio.sleep(0.05)
        return rewards

    server = await MisbehavingJudge().__aenter__()
    async with (
        make_judge(server.url, transport, max_attempts=60, retry_wait_s=0.1) as patient,
        make_judge(server.url, transport, max_attempts=1) as impatient,
    ):
        _, of_patient, of_impatient = await asyncio.gather(
            outage(server), rollouts(patient, "patient"), rollouts(impatient, "impatient")
        )
        await server.__aexit__()
    assert {reward.score for reward in of_patient} == {1.0}
    assert {(reward.score, reward.error) for reward in of_impatient} == {(1.0, None), (None, FailureKind.UNREACHABLE)}
    assert of_impatient[0].score == of_impatient[-1].score == 1.0
