"""TRL on two real processes: groups that lie on both are judged once, and an error on one ends both."""

import asyncio
import json
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from judge_double import JudgeDouble, varied_reply

from open_instruct_flip import FlipJudge
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.judges.listwise import ListwiseJudge

HERE = Path(__file__).parent
# What `accelerate launch` runs for several GPUs; with --cpu it starts one process, whatever --num_processes says.
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
MODEL = "hosted_vllm/judge"
DIRECT = {"judge_transport": "direct"}


def compares(body):
    return "ranking" in body["messages"][-1]["content"]


def reply(body):
    """The second of a group's responses is the best; FLIP's inference depends on the prompt."""
    return json.dumps({"reasoning": "", "ranking": [2]}) if compares(body) else varied_reply(body)


class Uneven(JudgeDouble):
    """Takes its time with one judge on the first rank and with the other on the second: their replies cross."""

    async def _chat(self, request):
        body = await request.json()
        number = self.num_requests
        if compares(body) == (number % 2 == 0):
            await asyncio.sleep(0.3)
        return await super()._chat(request)


def one_refused(number, body):
    return 401 if number == 0 else None


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of the two processes saw, the server that judged, and how the launch ended."""
    out = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), *filter(None, sys.path)]),
    }
    with Uneven(reply) as server, JudgeDouble(fault=one_refused) as refusing:
        done = subprocess.run(
            [sys.executable, *LAUNCH, str(HERE / "two_ranks.py"), server.api_base, refusing.api_base, str(out)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        files = sorted(out.glob("rank*.json"))
        assert len(files) == 2, done.stderr[-3000:]
        yield [json.loads(file.read_text()) for file in files], server, done


def whole(ranks, name):
    """Prompts, completions and rewards of the whole batch."""
    return {
        key: [value for rank in ranks for value in rank[name][key]] for key in ("prompts", "completions", "rewards")
    }


def test_a_group_that_lies_on_two_ranks_has_one_winner(ranks):
    seen, server, _ = ranks
    batch = whole(seen, "listwise")
    assert batch["prompts"][5] == batch["prompts"][6], "the second group lies on both ranks"
    of_prompt = groupby(zip(batch["prompts"], batch["rewards"], strict=True), key=lambda pair: pair[0])
    rewards = [sorted(reward for _, reward in group) for _, group in of_prompt]
    assert rewards == [[0.0, 0.0, 0.0, 1.0]] * 3
    assert sum(compares(body) for body in server.bodies) == 3, "each group is judged once"


async def test_rewards_on_two_ranks_are_those_of_one_process(ranks):
    seen, server, _ = ranks
    for judge in (ListwiseJudge(MODEL, server.api_base, **DIRECT), FlipJudge(MODEL, server.api_base, **DIRECT)):
        batch = whole(seen, judge.name)
        rewards = batch.pop("rewards")
        async with judge:
            assert await flip_reward(judge)(**batch) == pytest.approx(rewards)
        assert seen[0]["logged"][f"rewards/{judge.name}/mean"] == pytest.approx(sum(rewards) / 12)
        assert seen[0]["logged"][f"{judge.name}/failure_rate"] == 0


def test_an_error_on_one_rank_is_raised_on_both(ranks):
    seen, _, done = ranks
    assert done.returncode == 1
    raised, told = sorted((rank["error"] for rank in seen), key=lambda error: error.startswith("FlipError: rank "))
    assert "refused the API key (401)" in raised
    assert told.startswith("FlipError: rank ")
    assert told.endswith(f"failed: {raised}")
