"""The likelihood judge on a stand-in for vLLM whose tokens are words, more likely where the prompt held them before."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_double import JudgeDouble
from scripted_model import ENDPOINT, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judges.likelihood import NO_RESPONSE, LikelihoodJudge, logistic
from open_instruct_flip.rewards import FailureKind, Usage

CONVERSATION: list[Message] = [{"role": "user", "content": "Explain fertile soil"}]
SEEN, UNSEEN = -1.0, -3.0


def entries(text: str, known: str) -> list[dict[str, dict[str, float]] | None]:
    """vLLM's `prompt_logprobs` of a text: its first token has none."""
    words = re.findall(r"\w+|\S", text)
    known_words = set(re.findall(r"\w+", known.lower()))
    likely = [{str(zlib.crc32(w.encode())): {"logprob": SEEN if w.lower() in known_words else UNSEEN}} for w in words]
    return [None, *likely[1:]]


def vllm(request: ChatRequest) -> Completion:
    assert request.extra_body is not None
    assert request.extra_body["continue_final_message"] is True
    assert request.extra_body["add_generation_prompt"] is False
    system, user, answer = (message["content"] for message in request.messages)
    response = user.split("<response>\n")[1].split("\n</response>")[0]
    text = f"{system} {user} assistant: {answer}"
    return Completion(("x",), ("length",), Usage(100, 1, 1), 0.5, prompt_logprobs=entries(text, response))


async def test_reward_is_the_logistic_of_the_mean_gain_per_token(model: ScriptedModel) -> None:
    model.answer = vllm
    responses = ["Soil is fertile.", "Explain? Fertile soil it is.", "Rain.", ""]
    rewards = await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, responses)
    gains = [2 * (SEEN - UNSEEN) / 3, SEEN - UNSEEN, 0.0]
    assert [r.score for r in rewards] == pytest.approx([*(1 / (1 + math.exp(-gain)) for gain in gains), 0.0])
    assert rewards[2].score == 0.5


async def test_an_instruction_that_is_likely_anyway_gains_nothing(model: ScriptedModel) -> None:
    model.answer = vllm
    (reward,) = await LikelihoodJudge(**ENDPOINT).score([{"role": "user", "content": NO_RESPONSE[1:-1]}], [NO_RESPONSE])
    assert reward.score == 0.5


async def test_each_response_is_one_request_of_one_token_and_the_group_two_more(model: ScriptedModel) -> None:
    model.answer = vllm
    judge = LikelihoodJudge(**ENDPOINT)
    rewards = await judge.score(CONVERSATION, ["Soil.", "Rain.", "Soil.", "Snow."])
    assert len(model.requests) == 5
    assert {(request.max_tokens, request.n, request.response_format) for request in model.requests} == {(1, 1, None)}
    assert sum((reward.usage for reward in rewards), Usage()) == Usage(500, 5, 5)
    assert [reward.duplicate for reward in rewards] == [False, False, True, False]


@pytest.mark.parametrize("instruction", [".", ". . .", "?", "Explain.", "Explain soil\n\nin two lines", "  soil "])
async def test_only_the_instructions_own_tokens_count(instruction: str, model: ScriptedModel) -> None:
    model.answer = vllm
    (reward,) = await LikelihoodJudge(**ENDPOINT).score([{"role": "user", "content": instruction}], [instruction])
    words = re.findall(r"\w+|\S", instruction)
    gain = (SEEN - UNSEEN) * sum(word.isalnum() for word in words) / len(words)
    assert reward.score == pytest.approx(logistic(gain))


async def test_earlier_turns_are_context_and_the_system_prompt_may_be_the_target(model: ScriptedModel) -> None:
    model.answer = vllm
    chat: list[Message] = [{"role": "system", "content": "Be a pirate"}, *CONVERSATION]
    await LikelihoodJudge(**ENDPOINT).score(chat, ["Ahoy."])
    assert "system: Be a pirate" in model.shown()
    assert model.requests[-1].messages[-1] == {"role": "assistant", "content": "Explain fertile soil"}
    await LikelihoodJudge(**ENDPOINT, flip_target="system").score(chat, ["Ahoy."])
    assert "user: Explain fertile soil" in model.shown()
    assert model.requests[-1].messages[-1] == {"role": "assistant", "content": "Be a pirate"}


async def test_a_failed_baseline_fails_the_group_a_failed_response_only_itself(model: ScriptedModel) -> None:
    def failing(where: str) -> Any:
        def answer(request: ChatRequest) -> Completion:
            if where in request.messages[1]["content"]:
                raise RequestFailed(FailureKind.TIMEOUT, "no answer within 5 s")
            return vllm(request)

        return answer

    model.answer = failing("Rain")
    one = await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, ["Soil.", "Rain."])
    assert [reward.error for reward in one] == [None, FailureKind.TIMEOUT]
    model.answer = failing(NO_RESPONSE)
    both = await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, ["Soil.", "Rain."])
    assert [reward.error for reward in both] == [FailureKind.TIMEOUT] * 2


async def test_a_prompt_that_ends_otherwise_is_a_failure(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> Completion:
        completion = vllm(request)
        logprobs = list(completion.prompt_logprobs or [])
        odd = "Rain" in request.messages[1]["content"]
        return replace(completion, prompt_logprobs=[*logprobs, {"7": {"logprob": -1.0}}] if odd else logprobs)

    model.answer = answer
    rewards = await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, ["Soil.", "Rain."])
    assert [reward.error for reward in rewards] == [None, FailureKind.UNREADABLE_REPLY]
    assert "does not end with the instruction" in (rewards[1].detail or "")


async def test_a_template_that_drops_the_answer_makes_the_judge_unusable(model: ScriptedModel) -> None:
    model.answer = lambda request: Completion(
        ("x",), ("length",), Usage(), prompt_logprobs=entries("always the same", "")
    )
    with pytest.raises(JudgeUnusableError, match="leaves the assistant's last turn out"):
        await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, ["Soil."])


async def test_a_server_without_prompt_logprobs_is_unusable_and_says_so() -> None:
    with JudgeDouble() as server:
        judge = LikelihoodJudge(model="hosted_vllm/judge", api_base=server.api_base)
        with pytest.raises(JudgeUnusableError, match=r"hosted_vllm/judge returned no prompt_logprobs.*vLLM server"):
            await judge.score(CONVERSATION, ["Soil."])
        await judge.aclose()
    body = server.bodies[0]
    assert (body["prompt_logprobs"], body["continue_final_message"], body["max_tokens"]) == (0, True, 1)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_logistic_is_monotone_within_0_and_1(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= logistic(low) <= logistic(high) <= 1.0
    assert logistic(0.0) == 0.5
