"""The direct transport sends what litellm sends."""

import pickle
import subprocess
import sys

import pytest
from judge_double import JudgeDouble

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import JudgeUnusableError, UsageError

CONVERSATION = [
    {"role": "system", "content": "Be brief. {response}"},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi, what is it?"},
    {"role": "user", "content": "write a short poem about soil"},
]
RESPONSES = ['Warm soil, "quoted" and {braced}', "zwei\r\nZeilen, ünïcödé 土", "lone \ud800 surrogate", "x" * 20_000]
REQUESTS = {
    "plain": {"reply_contract": "free"},
    "sampled": {"reply_contract": "free", "num_samples": 3, "temperature": 0.7, "seed": 5, "max_tokens": 33},
    "structured": {"reply_contract": "schema"},
    "thinking": {"thinking": True},
}


async def request_of(server, transport, environment=(), **options):
    async with FlipJudge("hosted_vllm/org/judge", server.api_base, judge_transport=transport, **options) as judge:
        rewards = await judge.score(CONVERSATION, RESPONSES)
    bodies = sorted(server.bodies[-len(RESPONSES) :], key=str)
    return [reward.score for reward in rewards], bodies, server.headers[-1]


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
async def test_the_server_gets_the_same_body_and_key_both_ways(options, monkeypatch):
    monkeypatch.setenv("A_JUDGES_KEY", "sk-of-this-judge")
    with Recorder() as server:
        litellm = await request_of(server, "litellm", api_key_env="A_JUDGES_KEY", **options)
        direct = await request_of(server, "direct", api_key_env="A_JUDGES_KEY", **options)
    assert direct == litellm
    assert direct[1][0]["model"] == "org/judge"
    assert direct[2]["Authorization"] == "Bearer sk-of-this-judge"


@pytest.mark.parametrize("key", [None, "sk-from-the-environment"])
async def test_litellms_own_variables_are_honoured(key, monkeypatch):
    if key:
        monkeypatch.setenv("HOSTED_VLLM_API_KEY", key)
    with Recorder() as server:
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", server.api_base)
        headers = []
        for transport in ("litellm", "direct"):
            async with FlipJudge("hosted_vllm/judge", judge_transport=transport, reply_contract="free") as judge:
                await judge.score(CONVERSATION, ["a response"])
            headers.append(server.headers[-1]["Authorization"])
    assert headers[0] == headers[1]
    assert key is None or headers[0] == f"Bearer {key}"


async def test_connections_are_kept():
    with Recorder() as server:
        async with FlipJudge(
            "hosted_vllm/judge", server.api_base, judge_transport="direct", max_concurrency=4, reply_contract="free"
        ) as judge:
            for _ in range(5):
                await judge.score(CONVERSATION, [f"response {number}" for number in range(8)])
    assert server.num_requests == 40
    assert len(server.ports) <= 4


def test_other_providers_are_refused():
    with pytest.raises(UsageError, match="hosted_vllm/ models only, got openai/gpt-x"):
        FlipJudge("openai/gpt-x", "http://127.0.0.1:9/v1", judge_transport="direct", reply_contract="free")


@pytest.mark.parametrize("transport", ["litellm", "direct"])
async def test_a_key_and_a_url_are_read_anew_by_the_next_judge(transport, judge_double, monkeypatch):
    server, another = judge_double(api_key="right"), judge_double()
    options = {"judge_transport": transport, "api_key_env": "A_JUDGES_KEY"}
    monkeypatch.setenv("A_JUDGES_KEY", "wrong")
    with pytest.raises(JudgeUnusableError, match="refused the API key"):
        await FlipJudge("hosted_vllm/judge", server.api_base, **options, reply_contract="free").score(
            CONVERSATION, ["a response"]
        )
    monkeypatch.setenv("A_JUDGES_KEY", "right")
    for url in (server.api_base, another.api_base):
        monkeypatch.setenv("HOSTED_VLLM_API_BASE", url)
        (reward,) = await FlipJudge("hosted_vllm/judge", **options, reply_contract="free").score(
            CONVERSATION, ["a response"]
        )
        assert reward.score is not None
    assert (server.num_requests, another.num_requests) == (2, 1)


def run_python(source, *arguments):
    """Standard output and error of a program in a process of its own."""
    done = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


FORKED = """
import os, sys
from open_instruct_flip import FlipJudge
judge = FlipJudge("hosted_vllm/judge", sys.argv[1], judge_transport="direct", timeout_s=20, max_attempts=1,
                  reply_contract="free")
ask = lambda: judge.score_sync([{"role": "user", "content": "x"}], ["y"])[0].error
assert ask() is None
child = os.fork()
if not child:
    print(ask(), flush=True)
    os._exit(0)  # as multiprocessing ends its children
os.waitpid(child, 0)
"""
WITH_CACHE = """
import sys
from open_instruct_flip import FlipJudge
judge = FlipJudge("hosted_vllm/judge", sys.argv[1], cache_dir=sys.argv[2], reply_contract="free")
print(judge.score_sync([{"role": "user", "content": "x"}], ["y"])[0].error)
"""
ON_A_LOOP_THAT_NOBODY_ENDS = """
import asyncio, sys, threading
from open_instruct_flip import FlipJudge
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
judge = FlipJudge("hosted_vllm/judge", sys.argv[1], judge_transport=sys.argv[2], reply_contract="free")
scored = judge.score([{"role": "user", "content": "x"}], ["y"])
print(asyncio.run_coroutine_threadsafe(scored, loop).result()[0].error)
"""


@pytest.mark.parametrize("transport", ["litellm", "direct"])
def test_a_trainers_loop_ends_with_the_process_without_a_word(transport, judge_double):
    assert run_python(ON_A_LOOP_THAT_NOBODY_ENDS, judge_double().api_base, transport) == ("None\n", "")


def test_a_forked_process_can_judge_too(judge_double):
    assert run_python(FORKED, judge_double().api_base) == ("None\n", "")


def test_a_script_with_a_cache_ends_without_a_word(judge_double, tmp_path):
    assert run_python(WITH_CACHE, judge_double().api_base, str(tmp_path)) == ("None\n", "")


def test_a_judge_pickles():
    judge = FlipJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1", judge_transport="direct", reply_contract="free")
    assert pickle.loads(pickle.dumps(judge)).client.config == judge.client.config


class Recorder(JudgeDouble):
    """Keeps headers and client ports of the requests."""

    def __init__(self):
        super().__init__(models=None)
        self.headers, self.ports = [], set()

    async def _chat(self, request):
        self.headers.append({name: request.headers[name] for name in ("Authorization", "Content-Type")})
        self.ports.add(request.transport.get_extra_info("peername")[1])
        return await super()._chat(request)
