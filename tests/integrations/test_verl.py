"""verl's reward function: alone, and through verl's own loader and reward manager where verl is installed."""

import importlib
import math

import pytest
from judge_double import varied_reply

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.failures import outage
from open_instruct_flip.failures.outage import JudgeOutageError
from open_instruct_flip.integrations.verl import compute_score

INSTRUCTION = "Name three causes why soil may be lost in spring."
RESPONSES = ["Rain and wind.", "Frost; the plough.", "A short poem."]
MODEL = "hosted_vllm/judge"
QUICK = {"judge_transport": "direct", "max_attempts": 1, "outage_timeout_s": 0.2}


def gibberish_is_unreadable(body):
    return "no JSON" if "Gibberish" in str(body["messages"]) else varied_reply(body)


def one_is_late(number, body):
    return 500 if "Late" in str(body["messages"]) else None


async def score(response, url, ground_truth=INSTRUCTION, extra_info=None, **options):
    return await compute_score("flip", response, ground_truth, extra_info, model=MODEL, api_base=url, **QUICK | options)


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.01)


async def test_failures_get_what_the_prompts_other_responses_give_them_and_the_keys_stay(judge_double, quick_pauses):
    url = judge_double(reply=gibberish_is_unreadable, fault=one_is_late).api_base
    first, second = [await score(text, url) for text in RESPONSES[:2]]
    unreadable, late = await score("Gibberish.", url), await score("Late.", url)
    assert unreadable["score"] == min(first["score"], second["score"])
    assert (unreadable["judge_failure"], unreadable["parse_failure"], unreadable["request_failure"]) == (1.0, 1.0, 0.0)
    scores = [first["score"], second["score"], unreadable["score"]]
    assert late["score"] == pytest.approx(sum(scores) / 3)
    assert (late["judge_failure"], late["request_failure"]) == (1.0, 1.0)
    assert first.keys() == unreadable.keys() == late.keys()
    assert all(isinstance(value, float) for name, value in late.items() if name != "inferred_instruction")
    assert math.isnan(late["precision"])
    other = await score("Gibberish.", url, "What is wood for?")
    assert 0 < other["score"] == pytest.approx((first["score"] + second["score"]) / 2), "no response of its own prompt"


async def test_the_conversation_gives_context_and_the_ground_truth_is_the_instruction(judge_double):
    double = judge_double()
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Please: {INSTRUCTION}"}]
    result = await score(RESPONSES[0], double.api_base, extra_info={"messages": turns})
    assert "Be brief." in str(double.bodies)
    assert INSTRUCTION not in str(double.bodies)
    async with FlipJudge(MODEL, double.api_base) as judge:
        conversation = [turns[0], {"role": "user", "content": INSTRUCTION}]
        (direct,) = await judge.score(conversation, RESPONSES[:1])
    assert result["score"] == direct.score


@pytest.mark.parametrize("target", ["last_user", "system"])
async def test_an_answer_behind_the_instruction_is_not_shown(target, judge_double):
    double = judge_double()
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": INSTRUCTION},
        {"role": "assistant", "content": "A reference answer."},
    ]
    truth = INSTRUCTION if target == "last_user" else "Be brief."
    await score(RESPONSES[0], double.api_base, truth, {"messages": turns}, flip_target=target)
    assert truth not in str(double.bodies)
    assert "A reference answer." not in str(double.bodies)


async def test_opened_thinking_is_not_judged(judge_double):
    double = judge_double()
    assert (await score("They ask", double.api_base, thinking_opened=True))["score"] == 0.0
    assert double.num_requests == 0


async def test_an_outage_and_wrong_use_raise_so_that_no_number_is_made(judge_double, quick_pauses):
    down = judge_double(fault=lambda number, body: 500)
    with pytest.raises(JudgeOutageError):
        await score("Rain.", down.api_base)
    with pytest.raises(JudgeUnusableError):
        await score("Rain.", judge_double(api_key="k").api_base)
    with pytest.raises(UsageError, match="hands them over one by one"):
        await score("Rain.", down.api_base, judge="pairwise")
    with pytest.raises(UsageError, match="--no_such_option"):
        await score("Rain.", down.api_base, no_such_option=1)
    with pytest.raises(UsageError, match="got dict"):
        await score("Rain.", down.api_base, ground_truth={"a": 1})


@pytest.fixture
def verl():
    pytest.importorskip("verl", reason="verl is not installed beside this project")
    return importlib.import_module("verl_manager")


async def test_verls_own_loader_and_reward_manager_give_the_judges_rewards(verl, judge_double):
    url = judge_double().api_base
    results = await verl.rewards(INSTRUCTION, RESPONSES, model=MODEL, api_base=url, **QUICK)
    async with FlipJudge(MODEL, url) as judge:
        direct = await judge.score([{"role": "user", "content": INSTRUCTION}], RESPONSES)
    assert [result["reward_score"] for result in results] == [reward.score for reward in direct]
    assert len({tuple(result["reward_extra_info"]) for result in results}) == 1


async def test_an_outage_reaches_verl_as_an_error(verl, judge_double, quick_pauses):
    url = judge_double(fault=lambda number, body: 500).api_base
    with pytest.raises(JudgeOutageError):
        await verl.rewards(INSTRUCTION, RESPONSES, model=MODEL, api_base=url, **QUICK)


async def test_verls_rate_limited_manager_makes_zeros_of_errors(verl, judge_double, quick_pauses):
    """Why docs/trainers.md says not to take it. Should this fail, that page can say better."""
    url = judge_double(fault=lambda number, body: 500).api_base
    results = await verl.rewards(INSTRUCTION, RESPONSES, "rate_limited", model=MODEL, api_base=url, **QUICK)
    assert [result["reward_score"] for result in results] == [0.0] * 3
