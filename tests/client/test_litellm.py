"""The litellm route: what reaches litellm, whom it tells, and that the event loop is not held up by it.

Whatever version is installed is tested. For others, such as the oldest that setup.py allows:

    python -m venv OTHER
    OTHER/bin/pip install litellm==1.72.0 aiohttp json-repair click rich pytest pytest-asyncio hypothesis
    PYTHONPATH=. OTHER/bin/python -m pytest tests/client/test_litellm.py tests/client/test_direct.py tests/faults
"""

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from judge_double import JudgeDouble
from misbehaving import MisbehavingJudge, fails, gives

from open_instruct_flip import FlipJudge
from open_instruct_flip.client import litellm_internals
from open_instruct_flip.client.litellm_internals import LISTENERS, Provider, hosted_provider, load_litellm
from open_instruct_flip.rewards import FailureKind

CONVERSATION = [{"role": "user", "content": "write a short poem about soil"}]


@pytest.fixture
def server():
    with JudgeDouble() as running:
        yield running


def judge_at(server, model="hosted_vllm/judge", api_base=None, **options):
    return FlipJudge(
        model, api_base or server.api_base, **{"max_attempts": 2, "retry_wait_s": 0.01} | options, reply_contract="free"
    )


async def test_callbacks_hear_of_every_call(server, monkeypatch):
    """Whoever has asked litellm to report calls gets the reports."""
    litellm = load_litellm()
    heard, all_heard = [], asyncio.Event()
    for name in set(LISTENERS) - {"cache"}:
        monkeypatch.setattr(litellm, name, [])  # litellm copies `callbacks` into these

    class Listener(litellm.integrations.custom_logger.CustomLogger):
        async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
            heard.append(kwargs["model"])
            if len(heard) == 2:
                all_heard.set()

    monkeypatch.setattr(litellm, "callbacks", [Listener()])
    async with judge_at(server) as judge:
        rewards = await judge.score(CONVERSATION, ["a response", "another"])
        await asyncio.wait_for(all_heard.wait(), 30)  # litellm reports in the background
    assert all(reward.score is not None for reward in rewards)
    assert heard == ["judge", "judge"]


def asks_another_way(monkeypatch):
    monkeypatch.setattr(litellm_internals, "_ask_litellm", lambda *_: Provider("http://x/v1/generate", {}, "j", None))


def lacks_what_is_asked(monkeypatch):
    def ask(*_):
        raise AttributeError("litellm has no get_llm_provider")

    monkeypatch.setattr(litellm_internals, "_ask_litellm", ask)


def makes_another_body(monkeypatch):
    from litellm.llms.hosted_vllm.chat.transformation import HostedVLLMChatConfig

    body = {"prompt": "x"}
    monkeypatch.setattr(HostedVLLMChatConfig, "transform_request", lambda self, **_: body)


async def test_the_installed_version_is_as_expected():
    provider = hosted_provider("hosted_vllm/org/judge", "http://127.0.0.1:9/v1", "sk-x")
    assert provider is not None
    assert (provider.url, provider.model) == ("http://127.0.0.1:9/v1/chat/completions", "org/judge")
    assert provider.headers["Authorization"] == "Bearer sk-x"


@pytest.mark.parametrize("unexpected", [lacks_what_is_asked, asks_another_way])
async def test_an_unexpected_version_is_called_by_its_front_door(unexpected, monkeypatch, server, caplog):
    unexpected(monkeypatch)
    caplog.set_level(logging.DEBUG, "open_instruct_flip")
    async with judge_at(server, thinking=True) as judge:
        rewards = await judge.score(CONVERSATION, ["a response", "another"])
    assert [reward.error for reward in rewards] == [None, None]
    assert "is not as expected" in caplog.text
    assert {body["model"] for body in server.bodies} == {"judge"}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": True} for body in server.bodies)


def test_a_version_that_makes_another_body_is_not_as_expected(monkeypatch):
    load_litellm()
    makes_another_body(monkeypatch)
    assert hosted_provider("hosted_vllm/judge", "http://127.0.0.1:9/v1", None) is None


FRONT_DOOR_FAULTS = {
    "500": (fails(500), FailureKind.SERVER_ERROR, 2),
    "429": (fails(429, Retry_After="0"), FailureKind.RATE_LIMITED, 2),
    "400": (fails(400), FailureKind.REJECTED, 1),
    "no JSON": (gives(b"<html>"), FailureKind.SERVER_ERROR, 2),
    "overflow": (fails(400, "maximum context length is 8 tokens"), FailureKind.CONTEXT_OVERFLOW, 1),
}


@pytest.mark.parametrize("fault", FRONT_DOOR_FAULTS)
async def test_failures_through_the_front_door_are_the_same(fault, monkeypatch):
    behaviour, kind, requests = FRONT_DOOR_FAULTS[fault]
    lacks_what_is_asked(monkeypatch)
    async with MisbehavingJudge(then=behaviour) as server, judge_at(server, api_base=server.url) as judge:
        (reward,) = await judge.score(CONVERSATION, ["a"])
    assert (reward.error, len(server.bodies)) == (kind, requests), reward.detail


async def test_no_server_at_the_front_door(monkeypatch):
    lacks_what_is_asked(monkeypatch)
    async with MisbehavingJudge() as gone:
        pass
    async with judge_at(gone, api_base=gone.url) as judge:
        (reward,) = await judge.score(CONVERSATION, ["a response"])
    assert reward.error is FailureKind.UNREACHABLE


async def test_a_model_of_another_provider_works_and_gets_no_fields_it_may_refuse(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    async with judge_at(server, "openai/judge", thinking=True) as judge:
        (reward,) = await judge.score(CONVERSATION, ["a response"])
    assert reward.score is not None
    assert "chat_template_kwargs" not in server.bodies[0]


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [(429, FailureKind.RATE_LIMITED, 2), (500, FailureKind.SERVER_ERROR, 2), (400, FailureKind.REJECTED, 1)],
)
async def test_failures_of_other_providers_have_one_retry_layer(status, kind, requests, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    with JudgeDouble(fault=lambda number, body: status) as server:
        async with judge_at(server, "openai/judge") as judge:
            (reward,) = await judge.score(CONVERSATION, ["a response"])
    assert (reward.error, reward.score) == (kind, None)
    assert server.num_requests == reward.usage.requests == requests


async def test_identical_responses_are_one_request(server):
    async with judge_at(server) as judge:
        rewards = await judge.score(CONVERSATION, ["same"] * 7 + ["other"])
    assert server.num_requests == 2
    assert [reward.duplicate for reward in rewards] == [False] + [True] * 6 + [False]
    assert len({reward.score for reward in rewards[:7]}) == 1


async def test_more_in_flight_than_any_pool_of_litellm_holds():
    with JudgeDouble(latency_s=0.5) as server:
        async with judge_at(server, max_concurrency=300, timeout_s=30.0, max_attempts=1) as judge:
            rewards = await judge.score(CONVERSATION, [f"response {number}" for number in range(300)])
    assert {reward.error for reward in rewards} == {None}


def test_importing_litellm_leaves_the_event_loop_responsive():
    """The first request of a process imports litellm, which takes seconds, beside the loop and not on it."""
    script = """
import asyncio, json, sys, time
from open_instruct_flip import FlipJudge

async def main():
    ticks = [time.perf_counter()]
    async def tick():
        while True:
            await asyncio.sleep(0.005)
            ticks.append(time.perf_counter())
    ticking = asyncio.create_task(tick())
    judge = FlipJudge("hosted_vllm/judge", sys.argv[1], max_attempts=1)
    await judge.score([{"role": "user", "content": "write a poem"}], ["a response"])
    ticking.cancel()
    await judge.aclose()
    print(json.dumps([len(ticks), ticks[-1] - ticks[0]]))

asyncio.run(main())
"""
    with JudgeDouble() as server:
        run = subprocess.run(
            [sys.executable, "-c", script, server.api_base], capture_output=True, text=True, check=True, timeout=300
        )
    ticks, duration_s = json.loads(run.stdout.splitlines()[-1])
    # An import on the loop would leave a handful of ticks, however slow the machine.
    assert ticks >= 20, f"{ticks} ticks in {duration_s:.1f} s"
