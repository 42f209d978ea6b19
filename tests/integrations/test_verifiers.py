"""verifiers' reward: through a real task's own scoring, where verifiers is installed."""

from types import SimpleNamespace

import pytest
import verifiers_task

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import UsageError
from open_instruct_flip.integrations.verifiers import flip_reward
from open_instruct_flip.judges.pairwise import PairwiseJudge
from open_instruct_flip.rewards import Reward

INSTRUCTION = "Name three causes why soil may be lost in spring."
MODEL = "hosted_vllm/judge"
QUICK = {"judge_transport": "direct", "max_attempts": 1}
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": INSTRUCTION}]


@pytest.fixture
def scored():
    """Scores a reply to a task as verifiers does, and gives the trace."""
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed beside this project")

    async def score(judge, reply, **data):
        async with judge:
            return await verifiers_task.scored(vf, judge, reply, **data)

    return score


@pytest.mark.parametrize("form", ["text", "turns"])
async def test_a_rollout_gets_the_judges_reward(form, scored, judge_double):
    url = judge_double().api_base
    data = {"prompt": INSTRUCTION, "system_prompt": "Be brief."} if form == "text" else {"prompt": TURNS}
    trace = await scored(FlipJudge(MODEL, url, **QUICK), "Rain and wind.", **data)
    async with FlipJudge(MODEL, url, **QUICK) as judge:
        (direct,) = await judge.score(TURNS, ["Rain and wind."])
    assert trace.rewards["flip"].value == trace.reward == direct.score > 0


@pytest.mark.parametrize("reply", ["no JSON", 500])
async def test_a_failed_judgement_is_an_error_of_the_rollout_and_no_reward(reply, scored, judge_double):
    faults = {"fault": lambda number, body: 500} if reply == 500 else {"reply": reply}
    judge = FlipJudge(MODEL, judge_double(**faults).api_base, **QUICK)
    with pytest.raises(Exception, match="scoring") as raised:
        await scored(judge, "Rain and wind.", prompt=INSTRUCTION)
    assert type(raised.value).__name__ == "TaskError"


class EasyJudge(FlipJudge):
    """Likes every response."""

    async def score_group(self, conversation, responses):
        return [Reward(score=0.9) for _ in responses]


@pytest.mark.parametrize(("reply", "warnings"), [(INSTRUCTION, 1), ("Rain and wind wear it away.", 0)])
async def test_a_policy_that_copies_is_warned_of_once(reply, warnings, caplog):
    reward = flip_reward(EasyJudge(MODEL, "http://127.0.0.1:9/v1"))
    task = SimpleNamespace(system_prompt=None, prompt=INSTRUCTION, idx=0)
    for _ in range(300):
        assert await reward(None, task, SimpleNamespace(last_reply=reply)) == 0.9
    assert caplog.text.count("the policy repeats 100%") == warnings


def test_a_judge_that_compares_is_refused():
    with pytest.raises(UsageError, match="one by one"):
        flip_reward(PairwiseJudge(MODEL, "http://127.0.0.1:9/v1"))
