"""A judge that is down, in Open Instruct: training waits, judges again, and stops where the scores are read."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from test_open_instruct_rewards import INSTRUCTION, by_response, make_config, reward
from upstream_double import JudgeServer, inferred

from open_instruct_flip.errors import FlipError
from open_instruct_flip.failures import outage

VERDICTS = {"good": inferred(INSTRUCTION), "bad": inferred("bake a cake")}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(outage, "MAX_PAUSE_S", 0.1)


async def test_rollouts_judged_during_a_short_outage_get_their_true_reward(open_instruct, judge_server):
    port, url = judge_server.port, judge_server.url
    config = make_config(open_instruct, url, {"flip_outage_timeout_s": 30.0}, verification_reward=1.0)
    judge_server.stop()
    groups = asyncio.gather(*(reward(config, ["good", "bad"]) for _ in range(3)))
    await asyncio.sleep(0.3)
    assert not groups.done()
    revived = JudgeServer(port)
    revived.reply = by_response(VERDICTS)
    revived.start()
    try:
        for scores, metrics in await groups:
            assert scores == [1.0, 0.0]
            assert metrics["flip/failure_rate"] == 0.0
    finally:
        revived.stop()


@pytest.mark.parametrize("status", [401, 403, 404, 502])
async def test_a_judge_that_refuses_for_a_while_is_waited_for_once_it_has_answered(open_instruct, judge_server, status):
    judge_server.reply = by_response(VERDICTS)
    config = make_config(open_instruct, judge_server.url, {"flip_outage_timeout_s": 30.0}, verification_reward=1.0)
    fn = config.build()
    assert (await reward(config, ["good", "bad"], fn=fn))[0] == [1.0, 0.0]
    judge_server.reply = lambda body: status
    group = asyncio.create_task(reward(config, ["bad", "good"], fn=fn))
    await asyncio.sleep(0.3)
    assert not group.done()
    judge_server.reply = by_response(VERDICTS)
    assert (await group)[0] == [0.0, 1.0]


async def test_a_refusal_in_a_fresh_worker_is_waited_out_where_the_launcher_has_seen_the_judge_answer(
    open_instruct, judge_server
):
    judge_server.reply = lambda body: 404
    flags = {"flip_judge_proven": True, "flip_outage_timeout_s": 0.3}
    scores, _ = await reward(make_config(open_instruct, judge_server.url, flags), ["good"])
    with pytest.raises(FlipError, match=r"the judge refuses .*--flip_outage_timeout_s.*404"):
        np.mean(scores)
    assert len(judge_server.bodies) > 1


async def test_long_outage_stops_training_where_the_scores_are_read(open_instruct):
    config = make_config(open_instruct, "http://127.0.0.1:9/v1", {"flip_outage_timeout_s": 0.1})
    scores, metrics = await reward(config, ["good", "bad"])
    assert metrics == {}
    with pytest.raises(FlipError, match=r"hosted_vllm/judge at http://127\.0\.0\.1:9/v1; last error: unreachable"):
        np.mean(scores)


async def test_unknown_model_stops_training_at_once(open_instruct, judge_server):
    judge_server.reply = lambda body: 404
    config = make_config(open_instruct, judge_server.url)
    scores, _ = await reward(config, ["good"])
    with pytest.raises(FlipError, match="404"):
        np.mean(scores)
    assert len(judge_server.bodies) == 1
