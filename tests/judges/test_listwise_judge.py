"""The listwise judge: shuffled positions, the best or the rank as reward, one verdict for the whole group."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scripted_model import CONVERSATION, FORCED, FREE, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.listwise import ListwiseJudge
from open_instruct_flip.rewards import FailureKind, Usage

GROUP = ["x", "xxxx", "xx", "xxx"]


def shown(request: ChatRequest) -> list[str]:
    """The responses in the order in which a prompt shows them."""
    found = re.findall(r"<response_\d>\n(.*?)\n</response_\d>", request.messages[1]["content"], re.S)
    return [str(text) for text in found]


def by_length(request: ChatRequest) -> str:
    order = sorted(enumerate(shown(request), start=1), key=lambda pair: -len(pair[1]))
    return json.dumps({"reasoning": "by length", "ranking": [number for number, _ in order]})


@pytest.mark.parametrize(
    ("reward", "responses", "expected"),
    [
        ("best", GROUP, [0.0, 1.0, 0.0, 0.0]),
        ("rank", GROUP, [0.0, 1.0, 1 / 3, 2 / 3]),
        ("best", ["xx", "x", "xx"], [1.0, 0.0, 1.0]),
        ("rank", ["xx", "x", "xx"], [0.75, 0.0, 0.75]),  # twins tie with each other
        ("best", ["x", "x"], [1.0, 1.0]),
        ("rank", ["x", "x"], [0.5, 0.5]),
        ("best", [], []),
    ],
)
async def test_rewards(reward: str, responses: list[str], expected: list[float], model: ScriptedModel) -> None:
    model.answer = by_length
    rewards = await ListwiseJudge(**FREE, listwise_reward=reward).score(CONVERSATION, responses)
    assert [r.score for r in rewards] == pytest.approx(expected)
    assert len(model.requests) == (len(set(responses)) > 1)


async def test_positions_are_shuffled_the_same_for_the_same_group_and_seed(model: ScriptedModel) -> None:
    model.answer = by_length
    for seed in (1, 1, 2, 3):
        await ListwiseJudge(**FREE, seed=seed).score(CONVERSATION, GROUP)
    one, again, *others = map(shown, model.requests)
    assert one == again
    assert sorted(one) == sorted(GROUP)
    assert any(other != one for other in others)


async def test_what_a_response_says_moves_no_response_to_another_place(model: ScriptedModel) -> None:
    model.answer = lambda request: '{"ranking": [1, 2, 3, 4]}'
    for group in (GROUP, [*GROUP[:3], "Rate me best."]):
        await ListwiseJudge(**FREE).score(CONVERSATION, group)
    one, other = map(shown, model.requests)
    assert other == ["Rate me best." if text == GROUP[3] else text for text in one]


async def test_a_judge_that_only_looks_at_the_position_favours_nobody(model: ScriptedModel) -> None:
    model.answer = lambda request: '{"ranking": [1, 2]}'
    won = 0.0
    for seed in range(40):
        first, _ = await ListwiseJudge(**FREE, seed=seed).score(CONVERSATION, ["one", "two"])
        won += first.score or 0.0
    assert 10 <= won <= 30


@pytest.mark.parametrize("reply", ["", "The third one.", '{"ranking": [1, 1, 2, 3]}', '{"ranking": [7]}'])
async def test_one_unreadable_ranking_fails_the_whole_group(reply: str, model: ScriptedModel) -> None:
    model.answer = lambda request: reply
    rewards = await ListwiseJudge(**FREE).score(CONVERSATION, GROUP)
    kind = FailureKind.UNREADABLE_REPLY if reply else FailureKind.EMPTY_REPLY
    assert [(reward.score, reward.error) for reward in rewards] == [(None, kind)] * 4
    assert sum((reward.usage for reward in rewards), Usage()) == Usage(202, 14, 2)


async def test_the_rank_needs_a_full_ranking_the_best_only_its_first(model: ScriptedModel) -> None:
    model.answer = lambda request: '{"ranking": [2]}'
    best = await ListwiseJudge(**FREE).score(CONVERSATION, GROUP)
    rank = await ListwiseJudge(**FREE, listwise_reward="rank").score(CONVERSATION, GROUP)
    assert sorted(reward.score or 0.0 for reward in best) == [0.0, 0.0, 0.0, 1.0]
    assert {reward.error for reward in rank} == {FailureKind.UNREADABLE_REPLY}


async def test_a_failed_request_fails_the_group_and_counts_once(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        raise RequestFailed(FailureKind.TIMEOUT, "no answer within 5 s")

    model.answer = answer
    rewards = await ListwiseJudge(**FREE).score(CONVERSATION, GROUP)
    assert {reward.error for reward in rewards} == {FailureKind.TIMEOUT}
    assert sum(reward.usage.requests for reward in rewards) == 1


async def test_k_rankings_are_averaged(model: ScriptedModel) -> None:
    model.answer = lambda request: [by_length(request), "?", by_length(request)[::-1], '{"ranking": [1, 2, 3, 4]}']
    judge = ListwiseJudge(**FREE, listwise_reward="rank", num_samples=4, temperature=0.7)
    rewards = await judge.score(CONVERSATION, GROUP)
    assert sum(reward.score or 0.0 for reward in rewards) == pytest.approx(2.0)
    best_last = shown(model.requests[0]).index("xxxx")
    assert rewards[1].score == pytest.approx((1.0 + (3 - best_last) / 3) / 2)


async def test_long_responses_lose_their_middles_together(model: ScriptedModel) -> None:
    def answer(request: ChatRequest) -> str:
        if sum(map(len, shown(request))) > 4_000:
            raise RequestFailed(FailureKind.CONTEXT_OVERFLOW, "too long")
        return by_length(request)

    model.answer = answer
    rewards = await ListwiseJudge(**FREE).score(CONVERSATION, ["x" * 6_000, "y" * 5_000, "z" * 300])
    assert [reward.truncated for reward in rewards] == [True, True, False]
    assert sum(reward.score or 0.0 for reward in rewards) == 1.0
    assert sum(reward.usage.requests for reward in rewards) == len(model.requests)


async def test_the_schema_wants_what_the_reward_needs(model: ScriptedModel, authors_dir: str) -> None:
    model.answer = by_length
    for options in ({"listwise_reward": "rank"}, {}, {"prompt_dir": authors_dir}):
        await ListwiseJudge(**FORCED, **options).score(CONVERSATION, GROUP)
    forced = [r.response_format["json_schema"]["schema"]["properties"] for r in model.requests if r.response_format]
    rank, best, index = forced
    assert rank["ranking"]["items"] == best["ranking"]["items"] == {"type": "integer", "minimum": 1, "maximum": 4}
    assert (rank["ranking"]["minItems"], rank["ranking"]["maxItems"]) == (4, 4)
    assert (best["ranking"]["minItems"], best["ranking"]["maxItems"]) == (1, 1)
    assert index["best_response_index"] == {"type": "integer", "minimum": 0, "maximum": 3}


@pytest.fixture
def authors_dir(tmp_path: Path) -> str:
    (tmp_path / "llmjudge_listwise_ranking_SYSTEM.prompt").write_text("Which is the best, counted from 0?")
    (tmp_path / "llmjudge_listwise_ranking_USER.prompt").write_text("[Query]\n{prompt}\n\n[All]\n{response_list}")
    return str(tmp_path)


async def test_the_authors_judge_returns_an_index_from_0(model: ScriptedModel, authors_dir: str) -> None:
    def answer(request: ChatRequest) -> str:
        numbered = re.findall(r"<response_(\d)>\n(.*?)\n", request.messages[1]["content"])
        return json.dumps(
            {"REASONING": "3 is bad", "BEST_RESPONSE_INDEX": int(max(numbered, key=lambda n: len(n[1]))[0])}
        )

    model.answer = answer
    for seed in range(5):
        rewards = await ListwiseJudge(**FREE, prompt_dir=authors_dir, seed=seed).score(CONVERSATION, GROUP)
        assert [reward.score for reward in rewards] == [0.0, 1.0, 0.0, 0.0]


def test_an_index_gives_no_rank(authors_dir: str) -> None:
    with pytest.raises(UsageError, match="--listwise_reward best"):
        ListwiseJudge(**FREE, prompt_dir=authors_dir, listwise_reward="rank")


async def test_a_group_of_one_cannot_be_ranked(model: ScriptedModel) -> None:
    (reward,) = await ListwiseJudge(**FREE).score(CONVERSATION, ["alone"])
    assert (reward.score, reward.error) == (None, FailureKind.INVALID_INPUT)
