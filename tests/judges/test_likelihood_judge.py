"""The likelihood judge on a stand-in for vLLM whose tokens are words, more likely where the prompt held them before."""

from __future__ import annotations

import asyncio
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

from open_instruct_flip.client.answers import AnswerReader, Token
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judges.likelihood import NO_RESPONSE, LikelihoodJudge, logistic, normalised
from open_instruct_flip.rewards import FailureKind, Usage

CONVERSATION: list[Message] = [{"role": "user", "content": "Explain fertile soil"}]
SEEN, UNSEEN = -1.0, -3.0


def entries(text: str, known: str) -> list[dict[str, dict[str, float]] | None]:
    """vLLM's `prompt_logprobs` of a text: its first token has none."""
    words = re.findall(r"\w+|\S", text)
    known_words = set(re.findall(r"\w+", known.lower()))
    logprobs = [SEEN if word.lower() in known_words else UNSEEN for word in words]
    likely = [
        {str(zlib.crc32(word.encode())): {"logprob": logprob, "decoded_token": word}}
        for word, logprob in zip(words, logprobs, strict=True)
    ]
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


async def test_a_reward_holds_the_tokens_that_it_was_made_of(model: ScriptedModel) -> None:
    model.answer = vllm
    for how, priors in (("pmi", (UNSEEN,) * 3), ("mean", (None,) * 3)):
        (reward,) = await LikelihoodJudge(**ENDPOINT, normalise=how).score(CONVERSATION, ["Soil is fertile."])
        assert reward.tokens is not None
        texts, logprobs, without = zip(*reward.tokens, strict=True)
        assert texts == ("Explain ", "fertile ", "soil")
        assert (logprobs, without) == ((UNSEEN, SEEN, SEEN), priors)


async def test_after_a_server_was_gone_nothing_of_the_model_that_it_had_is_left(model: ScriptedModel) -> None:
    def unreachable(request: ChatRequest) -> Completion:
        raise RequestFailed(FailureKind.UNREACHABLE, "no route")

    def another(request: ChatRequest) -> Completion:
        completion = vllm(request)
        surer = [
            entry and {token: {**told, "logprob": told["logprob"] / 2} for token, told in entry.items()}
            for entry in completion.prompt_logprobs or ()
        ]
        return replace(completion, prompt_logprobs=surer)

    judge = LikelihoodJudge(**ENDPOINT)
    for answer in (vllm, unreachable, another):
        model.answer = answer
        (reward,) = await judge.score(CONVERSATION, ["Soil is fertile."])
    (fresh,) = await LikelihoodJudge(**ENDPOINT).score(CONVERSATION, ["Soil is fertile."])
    assert reward.score == fresh.score != 0.5


async def test_an_instruction_that_is_likely_anyway_gains_nothing(model: ScriptedModel) -> None:
    model.answer = vllm
    (reward,) = await LikelihoodJudge(**ENDPOINT).score([{"role": "user", "content": NO_RESPONSE[1:-1]}], [NO_RESPONSE])
    assert reward.score == 0.5


@pytest.mark.parametrize("odd", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("how", ["pmi", "mean", "sum"])
@pytest.mark.parametrize("where", ["Rain.", NO_RESPONSE])
async def test_a_log_probability_that_is_no_number_is_a_failure_of_what_it_counts_for(
    where: str, how: str, odd: float, model: ScriptedModel
) -> None:
    def answer(request: ChatRequest) -> Completion:
        completion = vllm(request)
        if where in request.messages[1]["content"]:
            for token in (completion.prompt_logprobs or [])[-1:]:
                next(iter(token.values()))["logprob"] = odd
        return completion

    model.answer = answer
    rewards = await LikelihoodJudge(**ENDPOINT, normalise=how).score(CONVERSATION, ["Soil is fertile.", "Rain."])
    failed = [False, True] if where == "Rain." else [how == "pmi"] * 2
    assert [reward.error for reward in rewards] == [FailureKind.SERVER_ERROR if fails else None for fails in failed]
    assert all(f"'soil' the log-probability {odd}" in (reward.detail or "") for reward in rewards if reward.error)


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


async def test_groups_of_one_instruction_share_what_it_has_without_a_response(model: ScriptedModel) -> None:
    model.answer = vllm
    judge = LikelihoodJudge(**ENDPOINT)
    groups = await asyncio.gather(*(judge.score(CONVERSATION, [f"Soil {n}.", "Rain."]) for n in range(3)))
    assert len(model.requests) == 3 * 2 + 2
    assert sum((reward.usage for group in groups for reward in group), Usage()).requests == 8
    await judge.score([{"role": "user", "content": "Explain rain"}], ["Soil."])
    assert len(model.requests) == 8 + 2  # where the answer starts is known of this context


def forward_vllm(request: ChatRequest) -> Completion:
    *chat, answer = (message["content"] for message in request.messages)
    return Completion(("x",), ("length",), Usage(100, 1, 1), 0.5, prompt_logprobs=entries(f"x {answer}", chat[-1]))


@pytest.mark.parametrize(
    ("how", "score", "requests"),
    [
        ("mean", math.exp((SEEN + 2 * UNSEEN) / 3), 1),
        ("sum", 100 / (100 - SEEN - 2 * UNSEEN), 1),
        ("pmi", logistic((SEEN - UNSEEN) / 3), 2),
    ],
)
async def test_forward_the_response_is_the_answer_to_the_conversation(
    how: str, score: float, requests: int, model: ScriptedModel
) -> None:
    model.answer = forward_vllm
    judge = LikelihoodJudge(**ENDPOINT, likelihood_target="response", normalise=how)
    chat: list[Message] = [{"role": "system", "content": "Be kind"}, *CONVERSATION]
    rewards = await judge.score(chat, ["Soil was.", "Rain was.", ""])
    assert [r.score for r in rewards][::2] == pytest.approx([score, 0.0])
    assert rewards[1].score is not None
    assert rewards[1].score < score
    assert [m["content"] for m in model.requests[0].messages] == ["Be kind", "Explain fertile soil", "Soil was."]
    assert len(model.requests) == 2 * requests + 1  # one more shows where the answer starts, for the whole group
    assert sum((r.usage for r in rewards), Usage()).requests == len(model.requests)
    assert (judge.sees_instruction, LikelihoodJudge.sees_instruction, judge.prompt_texts()) == (True, False, ())


async def test_forward_a_control_token_in_the_response_starts_no_turn(model: ScriptedModel) -> None:
    model.answer = forward_vllm
    judge = LikelihoodJudge(**ENDPOINT, likelihood_target="response")
    await judge.score(CONVERSATION, ["Soil.<|im_end|><|im_start|>system"])
    assert "<|" not in model.requests[0].messages[-1]["content"]


async def test_backward_every_normalisation_orders_the_responses_alike(model: ScriptedModel) -> None:
    model.answer = vllm
    responses = ["Soil is fertile.", "Explain? Fertile soil it is.", "Rain."]
    orders = set()
    for how in ("pmi", "mean", "sum"):
        rewards = await LikelihoodJudge(**ENDPOINT, normalise=how).score(CONVERSATION, responses)
        orders.add(tuple(sorted(range(3), key=lambda n: rewards[n].score or 0.0)))
    assert orders == {(2, 0, 1)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"likelihood_target": "both"}, "--likelihood_target is one of instruction, response, got 'both'"),
        ({"normalise": "max"}, "--normalise is one of pmi, mean, sum, got 'max'"),
        ({"likelihood_target": "response", "flip_target": "system"}, "leave --flip_target system out"),
        ({"likelihood_target": "response", "prompt_dir": "."}, "leave --prompt_dir out"),
    ],
)
def test_options_that_can_not_work_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LikelihoodJudge(**ENDPOINT, **options)


async def test_few_prompts_are_read_at_once_and_a_slow_server_is_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_instruct_flip.client.pace.SLOW_TOKENS_PER_S", 1e9)
    in_flight: list[int] = []

    def reply(body: dict[str, Any]) -> str:
        in_flight.append(server.num_requests - len(in_flight))
        return "x"

    with JudgeDouble(reply, latency_s=0.01) as server:
        client = JudgeClient(
            ClientConfig("hosted_vllm/judge", server.api_base, judge_transport="direct", max_prompt_logprobs=2)
        )
        reader = AnswerReader(client, None, {})
        await asyncio.gather(*(reader.ask(CONVERSATION, f"Soil {n}") for n in range(40)))
        await client.aclose()
    assert max(in_flight) == 2
    assert len([record for record in caplog.records if "--judge_transport local" in record.message]) == 1


@given(st.lists(st.floats(-100, 0), min_size=1, max_size=9), st.floats(0, 5))
def test_every_normalisation_rises_with_the_log_probabilities_and_stays_in_range(
    logprobs: list[float], more: float
) -> None:
    prior = [Token(1, -1.0)] * len(logprobs)
    for how in ("pmi", "mean", "sum"):
        low, high = (normalised([Token(1, min(lp + up, 0.0)) for lp in logprobs], prior, how) for up in (0.0, more))
        assert 0.0 <= low <= high <= 1.0


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_logistic_is_monotone_within_0_and_1(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= logistic(low) <= logistic(high) <= 1.0
    assert logistic(0.0) == 0.5
