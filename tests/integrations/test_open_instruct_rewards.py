"""Verifiers and reward function on Open Instruct's double, with a judge server on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

INSTRUCTION = "Name the three largest lakes of Sweden, please"
FOUR_OF_SEVEN = 2 * (4 / 4) * (4 / 7) / (4 / 4 + 4 / 7)
"""F1 of four of the seven words that count, and no other."""


def inferred(instruction):
    return json.dumps({"reasoning": "it shows", "instruction": instruction})


def make_config(open_instruct, url, flags=None, **fields):
    from open_instruct import data_loader

    options = {"llm_judge_model": "hosted_vllm/judge", "flip_api_base": url, "flip_max_attempts": 1}
    options |= {"flip_reply_contract": "free"}
    streaming = data_loader.StreamingDataLoaderConfig(**options | (flags or {}))
    verifiers = open_instruct.ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=1), streaming)
    return open_instruct.ground_truth_utils.RewardConfig(verifier_functions=verifiers, **fields)


async def reward(config, responses, *, label="general-flip", truth=INSTRUCTION, query=f"user: {INSTRUCTION}", **more):
    """Scores and metrics of one prompt's samples, as an engine computes them."""
    fn = more.pop("fn", None) or pickle.loads(pickle.dumps(config)).build()
    k = len(responses)
    finish_reasons = more.pop("finish_reasons", ["stop"] * k)
    queries = None if query is None else [query] * k
    return await fn([[1]] * k, responses, [truth] * k, [label] * k, finish_reasons, SimpleNamespace(), queries)


def by_response(verdicts):
    """A judge that answers according to which response its prompt holds."""

    def reply(body):
        prompt = body["messages"][-1]["content"]
        return next(answer for response, answer in verdicts.items() if response in prompt)

    return reply


async def test_group_is_judged_once_with_open_instructs_multiplier(open_instruct, judge_server):
    judge_server.reply = by_response(
        {"first": inferred(INSTRUCTION), "second": inferred("Name three largest lakes"), "third": inferred("bake")}
    )
    config = make_config(open_instruct, judge_server.url)
    scores, metrics = await reward(config, ["the first", "the second", "the third", "the first"])
    assert scores == pytest.approx([10.0, 10 * FOUR_OF_SEVEN, 0.0, 10.0])
    assert len(judge_server.bodies) == 3  # identical responses are judged once
    assert metrics["objective/general-flip_reward"] == pytest.approx(np.mean(scores))
    assert metrics["flip/f1_mean"] == pytest.approx(np.mean(scores) / 10)
    assert metrics["flip/f1_hist"] == pytest.approx(np.array(scores) / 10)
    assert metrics["flip/duplicate_rate"] == 0.25
    assert metrics["flip/precision"] == pytest.approx(0.75)
    assert metrics["flip/recall"] == pytest.approx((1 + 4 / 7 + 0 + 1) / 4)
    assert metrics["flip/judge_prompt_tokens"] == 10
    assert metrics["flip/judge_completion_tokens"] == 5
    assert 0 < metrics["flip/judge_latency_s"] <= metrics["flip/judge_latency_p95_s"]
    assert metrics["flip/context_mismatch_rate"] == metrics["flip/failure_rate"] == 0.0


@pytest.mark.parametrize(
    ("query", "context", "mismatch"),
    [
        (f"user: {INSTRUCTION}", None, 0.0),
        (f"system: Be brief.\nuser: Hi\nassistant: Hello\nuser: {INSTRUCTION}", "user: Hi\nassistant: Hello", 0.0),
        # What is said about lakes stands before the instruction, and looks like turns itself.
        (f"user: user: sea\nassistant: x\nuser: {INSTRUCTION}", "user: user: sea\nassistant: x", 0.0),
        (f"user: {INSTRUCTION} ", None, 1.0),
        (f"user: {INSTRUCTION}\nassistant: Sure", None, 1.0),
        (f"user: Well. {INSTRUCTION}", None, 1.0),
        (None, None, 1.0),
    ],
)
async def test_context_is_what_stands_before_the_instruction(open_instruct, judge_server, query, context, mismatch):
    config = make_config(open_instruct, judge_server.url)
    if query is None:
        verifier = config.verifier_functions["general-flip"]
        await verifier.async_call([], "answer", INSTRUCTION, None, rollout_state=None)
    else:
        _, metrics = await reward(config, ["answer"], query=query)
        assert metrics["flip/context_mismatch_rate"] == mismatch
    (prompt,) = judge_server.prompts()
    assert INSTRUCTION not in prompt
    assert "lakes" not in prompt.lower()
    assert (context in prompt) if context else ("<conversation>" not in prompt)


async def test_multi_line_instruction_is_taken_whole(open_instruct, judge_server):
    instruction = "Sort these\nuser: names\nassistant: by length"
    judge_server.reply = lambda body: inferred(instruction)
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    scores, metrics = await reward(config, ["a"], truth=instruction, query=f"system: S\nuser: {instruction}")
    assert scores == [1.0]
    assert metrics["flip/context_mismatch_rate"] == 0.0
    assert "by length" not in judge_server.prompts()[0]


async def test_system_target_infers_the_system_prompt(open_instruct, judge_server):
    judge_server.reply = lambda body: inferred("Talk like a pirate.")
    config = make_config(open_instruct, judge_server.url, {"flip_target": "system"}, verification_reward=1.0)
    query = "system: Talk like a pirate.\nuser: Who are you?"
    scores, metrics = await reward(config, ["Arr"], truth="Talk like a pirate.", query=query)
    assert scores == [1.0]
    assert metrics["flip/context_mismatch_rate"] == 0.0
    assert "Who are you?" in judge_server.prompts()[0]
    assert "pirate" not in judge_server.prompts()[0]


async def test_mismatch_is_said_once(open_instruct, judge_server, caplog):
    config = make_config(open_instruct, judge_server.url)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await reward(config, ["answer"], query="user: something else")
    assert sum("context_mismatch_rate" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("prediction", "judged"),
    [
        ("<think>the user wants lakes</think> Vänern", "Vänern"),
        ("<think>lakes are wanted</think><answer>Vänern</answer>", "Vänern"),
        ("Vänern", "Vänern"),
        # Nobody opened a section, so that the tag is a quotation.
        ("Vänern, and close it with </think>.", "Vänern, and close it with < /think>."),
        ("<think>the user wants lakes", None),
    ],
)
@pytest.mark.parametrize("opens_thinking", ["auto", "no"])
async def test_thinking_is_not_judged(open_instruct, judge_server, prediction, judged, opens_thinking):
    config = make_config(open_instruct, judge_server.url, {"flip_policy_opens_thinking": opens_thinking})
    await judged_as(judge_server, config, prediction, judged)


@pytest.mark.parametrize(
    ("prediction", "judged"),
    [
        ("Okay, the user wants the three largest lakes of Sweden", None),
        ("Okay, the user wants <answer>lakes</answer>", None),
        ("lakes are wanted</think> Vänern", "Vänern"),
        ("lakes are wanted</think>So: <answer>Vänern</answer>", "Vänern"),
        ("they may quote </think> here</think>Vänern", "Vänern"),
        ("lakes are wanted</think>  ", None),
    ],
)
@pytest.mark.parametrize("label", ["general-flip", "general-pointwise"])
async def test_where_the_template_opens_the_thinking_a_response_that_never_closes_it_is_worth_nothing(
    open_instruct, judge_server, prediction, judged, label
):
    config = make_config(open_instruct, judge_server.url, {"flip_policy_opens_thinking": "yes"})
    judge_server.reply = lambda body: json.dumps({"instruction": INSTRUCTION, "score": 10})
    await judged_as(judge_server, config, prediction, judged, label)


async def judged_as(server, config, prediction, judged, label="general-flip"):
    """A prediction's answer reaches the judge as `judged`; None: nothing does, and the score is 0."""
    scores, metrics = await reward(config, [prediction], label=label)
    assert metrics["flip/failure_rate"] == 0.0
    if judged is None:
        assert scores == [0.0]
        assert server.bodies == []
    else:
        assert f"<response>\n{judged}\n</response>" in server.prompts()[0]


async def test_a_response_that_breaks_the_judges_reply_gets_its_groups_lowest_reward(open_instruct, judge_server):
    verdicts = {"good": inferred(INSTRUCTION), "fair": inferred("Name three largest lakes"), "odd": "@@@ ]"}
    judge_server.reply = by_response(verdicts)
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    scores, metrics = await reward(config, ["good", "fair", "odd"])
    assert scores == pytest.approx([1.0, FOUR_OF_SEVEN, FOUR_OF_SEVEN])
    assert metrics["flip/parse_failure_rate"] == pytest.approx(1 / 3)
    assert metrics["flip/request_failure_rate"] == 0.0
    assert metrics["flip/f1_mean"] == pytest.approx((1 + FOUR_OF_SEVEN) / 2)


async def test_a_failed_request_gets_its_groups_mean_which_is_no_advantage(open_instruct, judge_server):
    judge_server.reply = by_response({"good": inferred(INSTRUCTION), "bad": inferred("bake"), "odd": 400})
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    scores, metrics = await reward(config, ["good", "bad", "odd"])
    assert scores == [1.0, 0.0, 0.5]
    assert scores[2] - np.mean(scores) == 0.0
    assert metrics["flip/request_failure_rate"] == pytest.approx(1 / 3)
    assert metrics["flip/parse_failure_rate"] == 0.0


async def test_stand_ins_take_the_scores_that_the_copy_guard_left(open_instruct, judge_server):
    copied = f"You said: {INSTRUCTION}"
    judge_server.reply = by_response({"You said": inferred(INSTRUCTION), "odd": "@@@"})
    flags = {"flip_copy_guard": "penalize"}
    config = make_config(open_instruct, judge_server.url, flags, verification_reward=1.0)
    scores, metrics = await reward(config, [copied, "odd"])
    assert scores == [0.0, 0.0]
    assert (metrics["flip/f1_mean"], metrics["flip/recall"]) == (0.0, 1.0)


async def test_failed_sample_gets_zero_where_asked_for(open_instruct, judge_server):
    judge_server.reply = by_response({"good": inferred(INSTRUCTION), "odd": 400})
    config = make_config(open_instruct, judge_server.url, {"flip_on_failure": "zero"}, verification_reward=1.0)
    scores, metrics = await reward(config, ["good", "odd"])
    assert scores == [1.0, 0.0]
    assert metrics["flip/request_failure_rate"] == 0.5


async def test_failure_stops_training_where_asked_for(open_instruct, judge_server):
    from open_instruct_flip.errors import FlipError

    judge_server.reply = by_response({"good": inferred(INSTRUCTION), "odd": "no instruction"})
    config = make_config(open_instruct, judge_server.url, {"flip_on_unreadable": "raise"})
    scores, metrics = await reward(config, ["good", "odd"])
    assert metrics == {}
    for use in (np.mean, list, len, sum, lambda s: s[0]):
        with pytest.raises(FlipError, match="--flip_on_unreadable is raise: unreadable_reply"):
            use(pickle.loads(pickle.dumps(scores)))


async def test_unreadable_group_is_neutral(open_instruct, judge_server):
    judge_server.reply = lambda body: "..."
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    fn = config.build()
    scores, metrics = await reward(config, ["a", "b", "c"], fn=fn)
    assert scores == [0.5, 0.5, 0.5]
    assert metrics["flip/parse_failure_rate"] == 1.0
    assert "flip/f1_mean" not in metrics
    judge_server.reply = lambda body: inferred(INSTRUCTION)
    assert (await reward(config, ["d"], fn=fn))[0] == [1.0]
    judge_server.reply = lambda body: "..."
    scores, _ = await reward(config, ["e", "f"], fn=fn)
    assert scores == [1.0, 1.0], "no valid reward of their own: the groups before stand in"


async def test_another_label_takes_open_instructs_path(open_instruct, judge_server):
    config = make_config(open_instruct, judge_server.url)
    scores, metrics = await reward(config, ["a", "b"], label="string_matcher", truth="a")
    assert scores == [10.0, 0.0]
    assert metrics == {"objective/string_matcher_reward": 5.0}
    scores, _ = await reward(config, ["a"], label="general-quality", truth="a")
    assert scores == [7.0]
    assert judge_server.bodies == []


async def test_sample_with_two_labels_gets_both_rewards(open_instruct, judge_server):
    judge_server.reply = lambda body: inferred(INSTRUCTION)
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    labels, truths = ["string_matcher", "General-Flip"], ["a", INSTRUCTION]
    scores, _ = await reward(config, ["a", "b"], label=labels, truth=truths)
    assert scores == [2.0, 1.0]


async def test_penalty_for_truncated_responses_stays_open_instructs(open_instruct, judge_server):
    judge_server.reply = lambda body: inferred(INSTRUCTION)
    config = make_config(open_instruct, judge_server.url, non_stop_penalty=True)
    scores, _ = await reward(config, ["a", "b"], finish_reasons=["stop", "length"])
    assert scores == [10.0, -10.0]


async def test_baselines_see_the_instruction(open_instruct, judge_server):
    judge_server.reply = lambda body: json.dumps({"reasoning": "fine", "score": 8})
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    scores, metrics = await reward(
        config, ["answer"], label="general-pointwise", query=f"system: S\nuser: {INSTRUCTION}"
    )
    assert scores == [0.8]
    assert INSTRUCTION in judge_server.prompts()[0]
    assert "flip/f1_mean" not in metrics
    # A ground truth that is no instruction: the whole query is what was asked.
    await reward(config, ["answer"], label="general-pointwise", truth="a reference answer", query="user: What is it?")
    assert "What is it?" in judge_server.prompts()[1]
    assert "a reference answer" not in judge_server.prompts()[1]


async def test_listwise_ranks_the_whole_group(open_instruct, judge_server):
    judge_server.reply = lambda body: json.dumps({"reasoning": "so", "ranking": [1, 2, 3]})
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    scores, metrics = await reward(config, ["a", "b", "c"], label="general-listwise")
    assert sorted(scores) == [0.0, 0.0, 1.0]
    assert len(judge_server.bodies) == 1
    assert metrics["objective/general-listwise_reward"] == pytest.approx(1.0 / 3)


async def test_a_mixture_of_two_judges_is_a_label_like_any_other(open_instruct, judge_server):
    judge_server.reply = lambda body: json.dumps({"instruction": INSTRUCTION, "score": 7})
    config = make_config(open_instruct, judge_server.url, {"flip_reply_contract": "free"}, verification_reward=1.0)
    scores, metrics = await reward(config, ["a", "b", "c"], label="general-flip+pointwise")
    assert scores == [0.5] * 3  # no part tells them apart
    assert metrics["objective/general-flip+pointwise_reward"] == 0.5
    assert "flip/f1_mean" not in metrics  # a standardised reward is no F1
    assert len(judge_server.bodies) == 6


@pytest.mark.parametrize(
    ("guard", "score", "shown"),
    [("off", 1.0, True), ("penalize", 0.5, True), ("mask", 1.0, False)],
)
async def test_copy_guard(open_instruct, judge_server, guard, score, shown):
    judge_server.reply = lambda body: inferred(INSTRUCTION)
    config = make_config(open_instruct, judge_server.url, {"flip_copy_guard": guard}, verification_reward=1.0)
    # Six of the eight words in a row: two of the four 5-grams.
    scores, metrics = await reward(config, ["You said: name the THREE largest lakes of Norway"])
    assert scores == [score]
    assert metrics["flip/instruction_copy_rate"] == 0.5
    assert metrics["flip/instruction_overlap"] == pytest.approx(2 * 5 / (7 + 8))
    assert ("largest lakes" in judge_server.prompts()[0]) == shown


async def test_ground_truth_that_is_no_text_stops_training(open_instruct, judge_server):
    from open_instruct_flip.errors import FlipError

    config = make_config(open_instruct, judge_server.url)
    scores, _ = await reward(config, ["a"], truth=[["x"]], label=["general-flip"])
    with pytest.raises(FlipError, match="flip data validate"):
        np.mean(scores)


async def test_a_bug_elsewhere_stops_training_too(open_instruct, judge_server):
    # Open Instruct would wait for this group's result for ever.
    from open_instruct_flip.errors import FlipError

    config = make_config(open_instruct, judge_server.url)
    del config.verifier_functions["string_matcher"].name
    scores, _ = await reward(config, ["a"], label="string_matcher", truth="a")
    with pytest.raises(FlipError, match="AttributeError"):
        np.mean(scores)


async def test_verifier_alone(open_instruct, judge_server):
    from open_instruct_flip.errors import FlipError

    judge_server.reply = lambda body: inferred(INSTRUCTION)
    verifier = make_config(open_instruct, judge_server.url).verifier_functions["general-flip"]
    result = await verifier.async_call([1], "answer", INSTRUCTION, f"user: {INSTRUCTION}", rollout_state={})
    assert (result.score, result.reasoning) == (1.0, INSTRUCTION)
    judge_server.reply = lambda body: "..."
    with pytest.raises(FlipError, match="general-flip failed: unreadable_reply"):
        await verifier.async_call([1], "answer", INSTRUCTION, f"user: {INSTRUCTION}")


def test_verifier_alone_without_an_event_loop(open_instruct, judge_server):
    judge_server.reply = lambda body: inferred(INSTRUCTION)
    verifier = make_config(open_instruct, judge_server.url).verifier_functions["general-flip"]
    assert verifier([1], "answer", INSTRUCTION, f"user: {INSTRUCTION}").score == 1.0


async def test_groups_at_the_same_time_keep_their_own_scores(open_instruct, judge_server):
    judge_server.reply = lambda body: inferred("alpha beta" if "ALPHA" in body["messages"][-1]["content"] else "gamma")
    config = make_config(open_instruct, judge_server.url, verification_reward=1.0)
    fn = config.build()
    alpha = (reward(config, ["ALPHA", "x"], truth="alpha beta", query="user: alpha beta", fn=fn) for _ in range(8))
    gamma = (reward(config, ["ALPHA", "x"], truth="gamma", query="user: gamma", fn=fn) for _ in range(8))
    results = await asyncio.gather(*alpha, *gamma)
    assert [scores for scores, _ in results] == [[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 8
