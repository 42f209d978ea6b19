"""Mixed judges: standardised in the group, averaged, and failed where a part failed."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import make_dataclass
from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_model import CONVERSATION, ENDPOINT, FREE, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.contenders import Contender
from open_instruct_flip.judges.config import ReplyConfig
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.mixed import mixed, standardised
from open_instruct_flip.judges.pointwise import PointwiseJudge
from open_instruct_flip.judges.registry import judge_class, judge_options, pair_names
from open_instruct_flip.rewards import FailureKind, Usage

MIXED = "flip+pointwise"
F1 = {"good": ("Explain soil.", "8"), "fair": ("Explain rain.", "4"), "poor": ("Write code.", "6")}


def answers(request: ChatRequest) -> str:
    shown = request.messages[-1]["content"]
    instruction, score = next(replies for word, replies in F1.items() if f"<response>\n{word}" in shown)
    rating = "instruction" in request.messages[0]["content"] and "Explain soil." in shown
    return json.dumps({"score": int(score)} if rating else {"instruction": instruction})


def expected(flip: list[float], pointwise: list[float], weights: tuple[float, float] = (0.5, 0.5)) -> list[float]:
    def z(values: list[float]) -> list[float]:
        return [(value - fmean(values)) / pstdev(values) for value in values]

    means = [weights[0] * a + weights[1] * b for a, b in zip(z(flip), z(pointwise), strict=True)]
    return [1 / (1 + math.exp(-mean)) for mean in means]


@pytest.mark.parametrize(("options", "weights"), [({}, (0.5, 0.5)), ({"mixture_weights": "3,1"}, (0.75, 0.25))])
async def test_rewards_are_standardised_in_the_group_and_averaged(
    options: dict[str, str], weights: tuple[float, float], model: ScriptedModel
) -> None:
    model.answer = answers
    rewards = await judge_class(MIXED)(**FREE, **options).score(CONVERSATION, ["good", "fair", "poor"])
    assert [r.score for r in rewards] == pytest.approx(expected([1.0, 0.5, 0.0], [0.8, 0.4, 0.6], weights))
    assert rewards[0].detail == "flip 1.0000, pointwise 0.8000"
    assert rewards[0].inferred_instruction == "Explain soil."
    assert sum((r.usage for r in rewards), Usage()).requests == len(model.requests) == 6


async def test_a_failed_part_fails_that_response_and_moves_no_other(model: ScriptedModel) -> None:
    def failing(request: ChatRequest) -> str:
        text = answers(request)
        if "fair" in request.messages[-1]["content"] and "score" in text:
            raise RequestFailed(FailureKind.TIMEOUT, "no answer within 5 s")
        return text

    model.answer = failing
    good, fair, poor = await judge_class(MIXED)(**FREE).score(CONVERSATION, ["good", "fair", "poor"])
    assert (fair.score, fair.error, fair.detail) == (None, FailureKind.TIMEOUT, "pointwise: no answer within 5 s")
    assert [good.score, poor.score] == pytest.approx(expected([1.0, 0.0], [0.8, 0.6]))


@pytest.mark.parametrize("name", ["flip+pointwise", "pointwise+flip"])
async def test_an_outage_of_one_part_is_told_before_another_parts_reply(name: str, model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        grades = "instruction" in request.messages[0]["content"] and "Explain soil." in request.messages[-1]["content"]
        if "poor" in request.messages[-1]["content"]:
            if grades:
                raise RequestFailed(FailureKind.UNREACHABLE, "no connection")
            return "[...]"
        return answers(request)

    model.answer = answer
    *_, third = await judge_class(name)(**FREE).score(CONVERSATION, ["good", "fair", "poor"])
    assert (third.error, third.detail) == (FailureKind.UNREACHABLE, "pointwise: no connection")


async def test_a_part_without_spread_says_nothing(model: ScriptedModel) -> None:
    model.answer = lambda request: json.dumps({"score": 5}) if "score" in answers(request) else answers(request)
    rewards = await judge_class(MIXED)(**FREE).score(CONVERSATION, ["good", "poor", "good", ""])
    z = standardised([1.0, 0.0, 1.0])
    assert [r.score for r in rewards] == pytest.approx([*(1 / (1 + math.exp(-value / 2)) for value in z), 0.0])
    assert [r.duplicate for r in rewards] == [False, False, True, False]
    assert [r.score for r in await judge_class(MIXED)(**FREE).score(CONVERSATION, ["good", ""])] == [0.5, 0.0]


async def test_a_group_of_one_can_not_be_standardised(model: ScriptedModel) -> None:
    (reward,) = await judge_class(MIXED)(**FREE).score(CONVERSATION, ["good"])
    assert reward.error is FailureKind.INVALID_INPUT
    assert model.requests == []


def test_a_mixture_takes_the_options_of_all_parts_and_pickles() -> None:
    judge = judge_class("flip+likelihood")(**ENDPOINT, normalise="mean", reasoning=False, mixture_weights="0,1")
    again = pickle.loads(pickle.dumps(judge))
    assert type(again) is type(judge)
    assert (again.config, again.client.config) == (judge.config, judge.client.config)
    assert [part.config for part in again.parts] == [part.config for part in judge.parts]
    assert (again.label(), again.compares_group, again.sees_instruction) == ("general-flip+likelihood", True, False)
    assert judge_class("pointwise+pairwise").sees_instruction
    flip, likelihood = (judge_class(name)(**ENDPOINT) for name in ("flip", "likelihood"))
    assert again.prompt_texts() == (*flip.prompt_texts(), *likelihood.prompt_texts())


@pytest.mark.parametrize("weights", ["1", "1,2,3", "a,b", "-1,2", "0,0", "nan,1"])
def test_impossible_weights_are_refused(weights: str) -> None:
    with pytest.raises(UsageError, match=r"--mixture_weights is a number of 0 or above for each of the 2 judges"):
        judge_class(MIXED)(**ENDPOINT, mixture_weights=weights)


def test_what_can_not_be_mixed_is_refused() -> None:
    with pytest.raises(UsageError, match="names a judge twice"):
        judge_class("flip+flip")
    with pytest.raises(UsageError, match="no judge is called 'flop'"):
        judge_class("flip+flop")
    with pytest.raises(UsageError, match="the flip\\+pointwise judge has no --normalise"):
        judge_class(MIXED)(**ENDPOINT, normalise="mean")
    assert {"flip+likelihood", "likelihood+flip"} <= set(pair_names())
    assert {option.name: option for option in judge_options()}["mixture_weights"].judges == ("mixed",)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_standardised_keeps_the_order(values: list[float]) -> None:
    found = standardised(values)
    for one, other in pairwise(values):
        z, next_z = found[values.index(one)], found[values.index(other)]
        assert (z <= next_z) if one <= other else (z >= next_z)


def test_a_mixture_is_as_random_as_its_most_random_part() -> None:
    class Drawn(PointwiseJudge):
        name = "drawn"
        config_class = make_dataclass("DrawnConfig", [("temperature", float, 0.7)], bases=(ReplyConfig,), frozen=True)

    judge = mixed(FlipJudge, Drawn)(**ENDPOINT)
    assert judge.config.temperature is None  # type: ignore[attr-defined]  # each part has its own
    assert judge.temperature == 0.7
    assert Contender("mixed", judge).num_runs(3) == 3
