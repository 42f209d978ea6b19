"""Responses that quote their instruction: measured for every judge, and what its copy guard makes of them."""

from __future__ import annotations

import json

import pytest
from scripted_model import ENDPOINT, ScriptedModel

from open_instruct_flip import FlipJudge, PointwiseJudge
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.mixed import mixed
from open_instruct_flip.similarity import measures

INSTRUCTION = "Write a haiku about the sea"
CONVERSATION: list[Message] = [{"role": "user", "content": INSTRUCTION}]
QUOTING, HONEST = "You ask: write a haiku about the sea. Waves.", "Waves come and go."
BOTH = json.dumps({"instruction": INSTRUCTION, "score": 9})


@pytest.mark.parametrize(
    ("guard", "scores", "shown"),
    [("off", [1.0, 1.0], True), ("penalize", [0.0, 1.0], True), ("mask", [1.0, 1.0], False)],
)
async def test_a_guard_hides_quotes_or_takes_them_off_the_reward(
    guard: str, scores: list[float], shown: bool, model: ScriptedModel
) -> None:
    model.answer = lambda request: BOTH
    judge = FlipJudge(**ENDPOINT, reply_contract="free", copy_guard=guard)
    rewards = await judge.score(CONVERSATION, [QUOTING, HONEST])
    assert [reward.score for reward in rewards] == scores
    assert [reward.copy_rate for reward in rewards] == [1.0, 0.0]
    assert ("write a haiku" in model.shown(0)) == shown
    assert "Waves." in model.shown(0)


async def test_words_in_another_order_are_no_copy_and_show_by_their_overlap(model: ScriptedModel) -> None:
    model.answer = lambda request: BOTH
    judge = FlipJudge(**ENDPOINT, reply_contract="free", copy_guard="penalize")
    shuffled = f"<think>{HONEST}</think>The sea: about haiku, a write."
    rewards = await judge.score(CONVERSATION, [shuffled, HONEST])
    # Without articles both have the words write, haiku, about, sea.
    assert [(reward.copy_rate, reward.overlap, reward.score) for reward in rewards] == [
        (0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0),
    ]
    assert [reward.as_row()["overlap"] for reward in rewards] == [1.0, 0.0]


async def test_thinking_is_no_copy_and_half_of_an_instruction_costs_its_share(model: ScriptedModel) -> None:
    model.answer = lambda request: BOTH
    judge = FlipJudge(**ENDPOINT, reply_contract="free", copy_guard="penalize")
    texts = [f"<think>{INSTRUCTION}</think>{HONEST}", "I was asked to write a haiku about the moon."]
    rewards = await judge.score(CONVERSATION, texts)
    assert [(reward.copy_rate, reward.score) for reward in rewards] == [(0.0, 1.0), (0.5, 0.5)]


async def test_a_mixture_is_penalized_once(model: ScriptedModel) -> None:
    model.answer = lambda request: BOTH
    judge = mixed(FlipJudge, PointwiseJudge)(**ENDPOINT, reply_contract="free", copy_guard="penalize")
    rewards = await judge.score(CONVERSATION, ["I was asked to write a haiku about the moon.", HONEST])
    assert [reward.score for reward in rewards] == [0.25, 0.5]  # no part tells them apart


async def test_a_failure_stays_one_and_still_tells_what_was_copied(model: ScriptedModel) -> None:
    judge = FlipJudge(**ENDPOINT, reply_contract="free", copy_guard="penalize")
    (reward,) = await judge.score(CONVERSATION, [QUOTING])
    assert (reward.score, reward.error, reward.copy_rate) == (None, "empty_reply", 1.0)


@pytest.mark.parametrize("response", [INSTRUCTION, f"{INSTRUCTION}.", f'"{INSTRUCTION}."', f"**{INSTRUCTION}.**"])
async def test_nothing_left_to_judge_is_a_response_that_says_nothing(response: str, model: ScriptedModel) -> None:
    model.answer = lambda request: BOTH
    judge = FlipJudge(**ENDPOINT, reply_contract="free", copy_guard="mask")
    (reward,) = await judge.score(CONVERSATION, [response])
    assert (reward.score, reward.empty, reward.copy_rate, model.requests) == (0.0, True, 1.0, [])


async def test_of_a_system_prompt_it_is_the_system_prompt_that_is_copied(model: ScriptedModel) -> None:
    model.answer = lambda request: BOTH
    judge = FlipJudge(**ENDPOINT, reply_contract="free", flip_target="system")
    conversation: list[Message] = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": "Go."}]
    (reward,) = await judge.score(conversation, [QUOTING])
    assert reward.copy_rate == 1.0


async def test_words_of_a_script_without_spaces_are_warned_of_once(
    model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    measures._warn_once.cache_clear()
    model.answer = lambda request: BOTH
    for text in ("Explain soil.", "什么是土壤退化？", "什么是诗歌？"):
        await FlipJudge(**ENDPOINT, reply_contract="free").score([{"role": "user", "content": text}], [HONEST])
    assert caplog.text.count("--similarity chrf") == 1


def test_an_unknown_guard_is_refused() -> None:
    with pytest.raises(UsageError, match="--copy_guard is one of off, mask, penalize, got 'punish'"):
        FlipJudge(**ENDPOINT, copy_guard="punish")
