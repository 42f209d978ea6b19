"""SGLang's own route, against a stand-in that answers in the form its documentation gives. No real server was asked."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.local.models import model_path
from open_instruct_flip.rewards import FailureKind

transformers = pytest.importorskip("transformers")

FOLDER = str(model_path("judge"))
CONVERSATION: list[Message] = [{"role": "user", "content": "Write a short poem about the soil."}]
Bend = Callable[[dict[str, Any]], Any]


def logprob(token_id: int) -> float:
    return -0.1 - zlib.crc32(str(token_id).encode()) % 40 / 10


class Sglang:
    """`/get_model_info`, `/generate` with `input_token_logprobs` from `logprob_start_len` on, and the chat route."""

    def __init__(self, tokenizer: str = FOLDER, bend: Bend = lambda answer: answer) -> None:
        self.tokenizer, self.bend = tokenizer, bend
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    async def info(self, request: web.Request) -> web.Response:
        self.asked.append("info")
        return web.json_response({"model_path": "org/judge", "tokenizer_path": self.tokenizer, "is_generation": True})

    async def generate(self, request: web.Request) -> web.Response:
        self.asked.append("generate")
        self.keys.add(request.headers.get("Authorization"))
        body = await request.json()
        self.bodies.append(body)
        start, ids = body["logprob_start_len"], body["input_ids"]
        entries = [[None, ids[start], None], *([logprob(token), token, None] for token in ids[start + 1 :])]
        meta = {"prompt_tokens": len(ids), "completion_tokens": 1, "input_token_logprobs": entries}
        return web.json_response(self.bend({"text": "x", "meta_info": meta}))

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append("chat")
        message = {"role": "assistant", "content": '{"instruction": "Write a poem."}'}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})


@asynccontextmanager
async def serving(sglang: Sglang) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/get_model_info", sglang.info)
    app.router.add_post("/generate", sglang.generate)
    app.router.add_post("/v1/chat/completions", sglang.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def options(url: str, **more: Any) -> dict[str, Any]:
    return {"model": "hosted_vllm/judge", "api_base": url, "judge_transport": "direct", "max_attempts": 1, **more}


async def test_only_the_instructions_tokens_are_asked_for_and_read() -> None:
    sglang = Sglang()
    async with serving(sglang) as url, LikelihoodJudge(**options(url), normalise="mean") as judge:
        rewards = await judge.score(CONVERSATION, ["The soil is warm.", "Rain."])
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    for body in sglang.bodies:
        assert tokenizer.decode(body["input_ids"][body["logprob_start_len"] + 1 :]) == CONVERSATION[0]["content"]
        assert body["return_logprob"] is True
    body = sglang.bodies[0]
    logprobs = [logprob(token) for token in body["input_ids"][body["logprob_start_len"] + 1 :]]
    assert [r.score for r in rewards] == pytest.approx([math.exp(sum(logprobs) / len(logprobs))] * 2)
    assert sglang.asked == ["info", "generate", "generate", "generate"]


async def test_other_requests_go_the_usual_way_and_the_key_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    sglang = Sglang()
    async with serving(sglang) as url:
        async with FlipJudge(**options(url)) as flip:
            assert (await flip.score(CONVERSATION, ["The soil."]))[0].score
        assert set(sglang.asked) == {"chat"}
        async with LikelihoodJudge(**options(url, api_key_env="A_KEY")) as judge:
            assert (await judge.score(CONVERSATION, ["The soil."]))[0].score
    assert sglang.keys == {"Bearer secret"}


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda answer: {"text": "x", "meta_info": {}}, "returned no log-probabilities of the prompt"),
        (lambda answer: {"meta_info": {"input_token_logprobs": [[-1.0, 7, None]] * 999}}, "of other tokens than"),
        (lambda answer: [answer], "no chat completion"),
    ],
)
async def test_an_answer_of_another_form_is_a_failure(bend: Bend, words: str) -> None:
    async with serving(Sglang(bend=bend)) as url, LikelihoodJudge(**options(url)) as judge:
        (reward,) = await judge.score(CONVERSATION, ["The soil."])
    assert reward.error is FailureKind.SERVER_ERROR
    assert words in (reward.detail or "")


async def test_a_tokenizer_that_is_not_here_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Sglang(tokenizer="./not/here")) as url, LikelihoodJudge(**options(url)) as judge:
        with pytest.raises(JudgeUnusableError, match=r"tokenizer from \./not/here, which can't be loaded here"):
            await judge.score(CONVERSATION, ["The soil."])
