"""The pairwise judge: shares of wins in both orders, pairs left out, sampled pairs, and costs that add up."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_model import CONVERSATION, FREE, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.judges.pairwise import PairwiseJudge, pairs_to_compare
from open_instruct_flip.rewards import FailureKind, Usage


def two(request: ChatRequest) -> tuple[str, str]:
    """The two responses that a prompt shows."""
    found = re.search(
        r"<response_a>\n(.*)\n</response_a>\n\n<response_b>\n(.*)\n</response_b>", request.messages[1]["content"], re.S
    )
    assert found
    return found.group(1), found.group(2)


def longer_wins(request: ChatRequest) -> str:
    a, b = (len(text) for text in two(request))
    return json.dumps({"reasoning": "by length", "winner": "tie" if a == b else "A" if a > b else "B"})


async def scores(model: ScriptedModel, responses: list[str], **options: object) -> list[float | None]:
    return [reward.score for reward in await PairwiseJudge(**FREE, **options).score(CONVERSATION, responses)]


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        (["xxx", "xx", "x"], [1.0, 0.5, 0.0]),
        (["xx", "yy", "x"], [0.75, 0.75, 0.0]),
        (["xx", "x", "xx"], [0.75, 0.0, 0.75]),  # twins tie with each other
        (["xxx", "xx", "xx", "x"], [1.0, 0.5, 0.5, 0.0]),
        (["x", "x"], [0.5, 0.5]),
        ([], []),
    ],
)
async def test_reward_is_the_share_of_wins(responses: list[str], expected: list[float], model: ScriptedModel) -> None:
    model.answer = longer_wins
    assert await scores(model, responses) == pytest.approx(expected)


async def test_every_pair_is_shown_in_both_orders_with_the_instruction(model: ScriptedModel) -> None:
    model.answer = longer_wins
    await scores(model, ["one", "three", "seven"])
    shown = [two(request) for request in model.requests]
    assert len(shown) == len(set(shown)) == 6
    assert {(b, a) for a, b in shown} == set(shown)
    assert all("<instruction>\nExplain soil.\n</instruction>" in model.shown(n) for n in range(6))


async def test_a_judge_that_only_looks_at_the_position_makes_ties(model: ScriptedModel) -> None:
    model.answer = lambda request: '{"winner": "A"}'
    assert await scores(model, ["one", "two", "three"]) == [0.5, 0.5, 0.5]


def unless(fails: Callable[[str, str], bool]) -> Callable[[ChatRequest], str]:
    return lambda request: "Hard to say." if fails(*two(request)) else longer_wins(request)


async def test_a_pair_is_left_out_when_one_of_its_orders_cannot_be_read(model: ScriptedModel) -> None:
    model.answer = unless(lambda a, b: (a, b) == ("x", "xxx"))
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxx", "xx", "x"])
    assert [reward.score for reward in rewards] == [1.0, 0.5, 0.0]
    assert [(reward.detail or "")[:22] for reward in rewards] == [
        "1 of 2 pairs left out:",
        "",
        "1 of 2 pairs left out:",
    ]


async def test_a_response_without_a_readable_pair_is_a_failure_not_0(model: ScriptedModel) -> None:
    model.answer = unless(lambda a, b: "x" in (a, b))
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxx", "xx", "x", "x"])
    assert [reward.score for reward in rewards] == [1.0, 0.0, None, None]
    assert rewards[2].error == rewards[3].error == FailureKind.UNREADABLE_REPLY


async def test_failed_requests_leave_their_pairs_out_too(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        if "x" in two(request):
            raise RequestFailed(FailureKind.TIMEOUT, "no answer within 5 s")
        return longer_wins(request)

    model.answer = answer
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxx", "xx", "x"])
    assert [reward.score for reward in rewards] == [1.0, 0.0, None]
    assert rewards[2].error is FailureKind.TIMEOUT
    assert sum((reward.usage for reward in rewards), Usage()) == Usage(202, 14, 6)


@pytest.mark.parametrize("lost", [1, 4])
async def test_a_judge_that_was_lost_in_mid_group_leaves_no_reward_of_the_pairs_it_had_time_for(
    lost: int, model: ScriptedModel
) -> None:
    answered = itertools.count(1)

    def answer(request: ChatRequest) -> str:
        if next(answered) > 12 - lost:
            raise RequestFailed(FailureKind.UNREACHABLE, "no connection")
        return longer_wins(request)

    model.answer = answer
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxxx", "xxx", "xx", "x"])
    in_lost_pairs = [reward for reward in rewards if reward.error]
    assert len(in_lost_pairs) >= 2
    assert {reward.error for reward in in_lost_pairs} == {FailureKind.UNREACHABLE}
    assert all("of 3 pairs left out: no connection" in (reward.detail or "") for reward in in_lost_pairs)


async def test_an_unreadable_pair_does_not_hide_that_the_judge_is_gone(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        if {"x", "xxx"} == set(two(request)):
            return "Hard to say."
        raise RequestFailed(FailureKind.UNREACHABLE, "no connection")

    model.answer = answer
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxx", "xx", "x"])
    assert [reward.error for reward in rewards] == [FailureKind.UNREACHABLE] * 3


async def test_costs_add_up_over_the_group(model: ScriptedModel) -> None:
    model.answer = longer_wins
    rewards = await PairwiseJudge(**FREE).score(CONVERSATION, ["xxx", "xx", "x", "x"])
    assert sum((reward.usage for reward in rewards), Usage()) == Usage(6 * 101, 6 * 7, 6)
    assert [reward.usage.requests for reward in rewards] == [2, 2, 2, 0]
    assert [reward.latency_s for reward in rewards] == [0.5, 0.5, 0.5, 0.0]


async def test_a_group_of_one_cannot_be_compared(model: ScriptedModel) -> None:
    (reward,) = await PairwiseJudge(**FREE).score(CONVERSATION, ["alone"])
    assert (reward.score, reward.error) == (None, FailureKind.INVALID_INPUT)
    assert "group of one" in (reward.detail or "")
    assert not model.requests


async def test_responses_too_long_for_the_context_lose_their_middles(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        if sum(map(len, two(request))) > 3_000:
            raise RequestFailed(FailureKind.CONTEXT_OVERFLOW, "too long")
        return longer_wins(request)

    model.answer = answer
    long, short = await PairwiseJudge(**FREE).score(CONVERSATION, ["x" * 6_000, "y" * 500])
    assert (long.score, short.score) == (1.0, 0.0)
    assert (long.truncated, short.truncated) == (True, False)


async def test_sampled_pairs_are_the_same_for_the_same_group_and_seed(model: ScriptedModel) -> None:
    model.answer = longer_wins
    group = [f"response {n} {'x' * n}" for n in range(8)]
    for seed in (1, 1, 2):
        assert None not in await scores(model, group, max_pairs=4, seed=seed)
    first, again, other = (sorted(map(two, model.requests[n : n + 8])) for n in (0, 8, 16))
    assert first == again != other


@settings(deadline=None)
@given(count=st.integers(1, 9), max_pairs=st.integers(0, 50), seed=st.integers(0, 9))
def test_sampled_pairs_differ_and_reach_every_response_about_equally(count: int, max_pairs: int, seed: int) -> None:
    pairs = pairs_to_compare(count, max_pairs, random.Random(seed))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(a != b for a, b in pairs)
    every = count * (count - 1) // 2
    assert len(pairs) == (min(every, max(max_pairs, (count + 1) // 2)) if max_pairs else every)
    times = Counter(number for pair in pairs for number in pair)
    if count > 1:
        assert set(times) == set(range(count))
        assert max(times.values()) - min(times.values()) <= 2


async def test_the_authors_template_and_its_verdict_are_understood(model: ScriptedModel, tmp_path: Path) -> None:
    (tmp_path / "llmjudge_pairwise_ranking_SYSTEM.prompt").write_text("Say which is better.")
    (tmp_path / "llmjudge_pairwise_ranking_USER.prompt").write_text(
        '[Query]\n{prompt}\n\n[First]\n{response1}\n\n[Second]\n{response2}\n\n[Verdict]\n{{"BETTER_RESPONSE": "A"}}'
    )

    def answer(request: ChatRequest) -> str:
        first = request.messages[1]["content"].split("[First]\n")[1]
        return json.dumps({"REASONING": "by name", "BETTER_RESPONSE": "A" if first.startswith("good") else "B"})

    model.answer = answer
    assert await scores(model, ["bad", "good"], prompt_dir=str(tmp_path)) == [0.0, 1.0]
