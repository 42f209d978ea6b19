"""The reply cache: what is kept, for whom, and by how many processes at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from judge_double import JudgeDouble

from open_instruct_flip.client import cache as cache_module
from open_instruct_flip.client import probe
from open_instruct_flip.client.cache import FILE_NAME, CachingTransport, ReplyCache
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.errors import FlipError, JudgeRefusedError
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.rewards import FailureKind, Usage

ASKED = ChatRequest([{"role": "user", "content": "What is soil?"}], max_tokens=8)
ANSWER = Completion(("Earth.",), ("stop",), Usage(5, 2, 1), 0.5, [None, {"1": {"logprob": -0.5}}])


class CountingTransport:
    def __init__(self) -> None:
        self.num_requests = 0
        self.closed = False

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        self.num_requests += 1
        return ANSWER

    async def aclose(self) -> None:
        self.closed = True


def always(model: str) -> Callable[[str | None, float], Awaitable[str | None]]:
    async def identify(endpoint: str | None, timeout_s: float) -> str | None:
        return model

    return identify


async def ask_twice(folder: Path, first: ChatRequest, second: ChatRequest, second_model: str = "m") -> int:
    """How many requests two calls take."""
    counting = CountingTransport()
    for request, model in ((first, "m"), (second, second_model)):
        transport = CachingTransport(counting, ReplyCache(folder), always(model))
        await transport.complete(request, None, 1.0)
        await transport.aclose()
    return counting.num_requests


async def test_a_server_that_was_idle_is_asked_again_which_model_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, asked = "a", []

    async def identify(endpoint: str | None, timeout_s: float) -> str | None:
        asked.append(served)
        return served

    clock = 100.0
    monkeypatch.setattr(cache_module.time, "monotonic", lambda: clock)
    counting = CountingTransport()
    transport = CachingTransport(counting, ReplyCache(tmp_path), identify)
    for _ in range(3):
        await transport.complete(ASKED, None, 1.0)
    assert (asked, counting.num_requests) == (["a"], 1)
    served, clock = "b", clock + cache_module.IDENTITY_GOOD_FOR_S + 1
    await transport.complete(ASKED, None, 1.0)
    assert (asked, counting.num_requests) == (["a", "b"], 2), "what the former model said is not the new one's"
    await transport.aclose()


async def test_a_kept_answer_is_whole_and_free(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    await cache.put("m", ASKED, ANSWER)
    assert await cache.get("m", ASKED) == replace(ANSWER, usage=Usage(), latency_s=0.0)
    await cache.aclose()


@pytest.mark.parametrize(
    ("change", "requests"),
    [
        ({}, 1),
        ({"max_tokens": 9}, 2),
        ({"messages": [{"role": "user", "content": "What is silt?"}]}, 2),
        ({"seed": 1}, 2),
        ({"n": 2}, 2),
        ({"response_format": {"type": "json_object"}}, 2),
        ({"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, 2),
    ],
)
async def test_every_parameter_is_part_of_the_question(tmp_path: Path, change: dict, requests: int) -> None:
    assert await ask_twice(tmp_path, ASKED, replace(ASKED, **change)) == requests


async def test_the_model_is_part_of_the_question(tmp_path: Path) -> None:
    assert await ask_twice(tmp_path, ASKED, ASKED, second_model="other") == 2


@pytest.mark.parametrize(("seed", "requests"), [(None, 2), (7, 1)])
async def test_answers_drawn_at_random_are_kept_only_with_a_seed(
    tmp_path: Path, seed: int | None, requests: int
) -> None:
    drawn = replace(ASKED, temperature=0.7, seed=seed)
    assert await ask_twice(tmp_path, drawn, drawn) == requests


async def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("this is no database, and it is long enough to be read as one")
    with pytest.raises(FlipError, match=rf"{FILE_NAME} can't be used .* give another --cache_dir"):
        await ReplyCache(tmp_path).get("m", ASKED)


def test_processes_share_it(tmp_path: Path) -> None:
    script = """
import asyncio, sys, pathlib
from open_instruct_flip.client.cache import ReplyCache
from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.rewards import Usage
async def fill():
    cache = ReplyCache(pathlib.Path(sys.argv[1]))
    for n in range(200):
        request = ChatRequest([{"role": "user", "content": str(n)}], 8)
        await cache.put("m", request, Completion((str(n),), ("stop",), Usage()))
        assert (await cache.get("m", request)).texts == (str(n),)
    await cache.aclose()
asyncio.run(fill())
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    async def count() -> int:
        cache = ReplyCache(tmp_path)
        found = [await cache.get("m", ChatRequest([{"role": "user", "content": str(n)}], 8)) for n in range(200)]
        await cache.aclose()
        return sum(completion is not None for completion in found)

    assert asyncio.run(count()) == 200


async def test_a_judge_with_a_cache_asks_once(judge_double: Callable[..., JudgeDouble], tmp_path: Path) -> None:
    double = judge_double()
    conversation = [{"role": "user", "content": "Name three causes of soil loss."}]
    verdicts = []
    for _ in range(2):
        async with FlipJudge(
            "hosted_vllm/judge",
            double.api_base,
            cache_dir=str(tmp_path / "new" / "folder"),
            judge_transport="direct",
            reply_contract="free",
        ) as judge:
            verdicts += await judge.score(conversation, ["Wind, water and ploughing."])
    assert double.num_requests == 1
    assert verdicts[0].score == verdicts[1].score
    assert (verdicts[0].usage.requests, verdicts[1].usage) == (1, Usage())


CONVERSATION = [{"role": "user", "content": "Name three causes of soil loss."}]


async def ask(
    double: JudgeDouble, folder: Path, responses: tuple[str, ...] = ("Wind.",), url: str | None = None
) -> None:
    async with FlipJudge(
        "hosted_vllm/judge",
        url or double.api_base,
        cache_dir=str(folder),
        judge_transport="direct",
        max_attempts=1,
        reply_contract="free",
    ) as judge:
        rewards = await judge.score(CONVERSATION, responses)
    assert [reward.error for reward in rewards] == [None] * len(responses)


@pytest.mark.parametrize("change", [{"root": "/models/second"}, {"max_model_len": 8192}])
async def test_another_model_under_the_same_name_gets_no_old_answers(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path, change: dict
) -> None:
    about = {"root": "/models/first", "max_model_len": 4096}
    first, same, other = (judge_double(about=about | more) for more in ({}, {}, change))
    for double in (first, same, other):
        await ask(double, tmp_path)
    assert [double.num_requests for double in (first, same, other)] == [1, 0, 1]


async def test_a_model_that_says_nothing_of_itself_goes_by_its_name(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path
) -> None:
    silent, another = judge_double(models=None), judge_double(models=None)
    await ask(silent, tmp_path)
    await ask(another, tmp_path)
    assert [silent.num_requests, another.num_requests] == [1, 0]


async def test_an_endpoint_is_asked_once_what_it_serves(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask_endpoint = probe._get

    async def counted(session: object, url: str) -> object:
        asked.append(url)
        return await ask_endpoint(session, url)

    monkeypatch.setattr(probe, "_get", counted)
    double = judge_double()
    await ask(double, tmp_path, tuple(f"response {number}" for number in range(50)))
    assert asked == [f"{double.api_base}/models"]


async def test_a_cache_hit_says_nothing_of_an_endpoint(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path
) -> None:
    double = judge_double()
    await ask(double, tmp_path)
    double.fault = lambda number, body: 404
    async with FlipJudge(
        "hosted_vllm/judge", double.api_base, cache_dir=str(tmp_path), judge_transport="direct", reply_contract="free"
    ) as judge:
        await judge.score(CONVERSATION, ["Wind."])
        with pytest.raises(JudgeRefusedError):
            await judge.score(CONVERSATION, ["Water."])


class Server:
    """What an endpoint serves, None where it does not say, and whether its requests fail."""

    def __init__(self) -> None:
        self.model: str | None = "m"
        self.error: Exception | None = None
        self.num_requests = self.num_identified = 0

    async def identify(self, endpoint: str | None, timeout_s: float) -> str | None:
        self.num_identified += 1
        return self.model

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        self.num_requests += 1
        if self.error:
            raise self.error
        return replace(ANSWER, texts=(f"of {self.model}",))

    async def aclose(self) -> None: ...

    async def answers(self, transport: CachingTransport) -> str:
        return (await transport.complete(ASKED, "url", 1.0)).texts[0]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def cached(server: Server, tmp_path: Path) -> AsyncIterator[CachingTransport]:
    transport = CachingTransport(server, ReplyCache(tmp_path), server.identify)
    yield transport
    await transport.aclose()


async def test_where_the_model_is_unknown_nothing_is_read_or_kept(
    server: Server, cached: CachingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.model = None
    assert [await server.answers(cached) for _ in range(3)] == ["of None"] * 3
    assert (server.num_requests, server.num_identified) == (3, 1)
    monkeypatch.setattr(cache_module, "time", Later())
    server.model = "m"
    assert [await server.answers(cached) for _ in range(3)] == ["of m"] * 3
    assert (server.num_requests, server.num_identified) == (4, 2)


class Later:
    @staticmethod
    def monotonic() -> float:
        return time.monotonic() + cache_module.UNKNOWN_FOR_S


async def test_after_a_failed_request_the_endpoint_may_serve_another_model(
    server: Server, cached: CachingTransport
) -> None:
    assert await server.answers(cached) == "of m"
    server.error = RequestFailed(FailureKind.UNREACHABLE, "it restarts")
    with pytest.raises(RequestFailed):
        await cached.complete(replace(ASKED, max_tokens=9), "url", 1.0)
    server.error, server.model = None, "another"
    assert await server.answers(cached) == "of another"


async def test_an_overflow_is_no_reason_to_ask_for_the_model_again(server: Server, cached: CachingTransport) -> None:
    server.error = RequestFailed(FailureKind.CONTEXT_OVERFLOW, "too long")
    for _ in range(3):
        with pytest.raises(RequestFailed):
            await server.answers(cached)
    assert server.num_identified == 1


async def test_an_endpoint_that_cannot_be_asked_has_no_identity() -> None:
    with JudgeDouble() as gone:
        url = gone.api_base
    config = ClientConfig("hosted_vllm/judge", url)
    assert await probe.served_identity(config, url, 1.0) is None
    assert await probe.served_identity(config, None, 1.0) == "hosted_vllm/judge"
