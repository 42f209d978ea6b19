"""A judge that is down: training waits, judges again, and stops with the reason when it takes too long."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from test_open_instruct_rewards import INSTRUCTION, by_response, make_config, reward
from upstream_double import JudgeServer, inferred

from open_instruct_flip.errors import FlipError
from open_instruct_flip.integrations.open_instruct import outage
from open_instruct_flip.integrations.open_instruct.options import TrainingConfig
from open_instruct_flip.integrations.open_instruct.outage import JudgeOutageError, OutageGuard
from open_instruct_flip.rewards import FailureKind, Reward

GOOD = Reward(score=0.5)


def failed(kind):
    return Reward(error=kind, detail=f"detail of {kind}")


class Script:
    """An `ask` that answers from a list of rounds, and notes which numbers it was asked for."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)
        self.asked = []

    async def __call__(self, numbers):
        self.asked.append(list(numbers))
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(outage, "MAX_PAUSE_S", 0.05)


def guard(**training):
    return OutageGuard(TrainingConfig(**training), "hosted_vllm/judge at http://judge:8001/v1")


async def test_only_what_failed_is_judged_again():
    down = failed(FailureKind.UNREACHABLE)
    ask = Script([GOOD, down, down], [down, Reward(score=0.1)], [Reward(score=0.9)])
    rewards = await guard().judged(ask, 3)
    assert [r.score for r in rewards] == [0.5, 0.9, 0.1]
    assert ask.asked == [[0, 1, 2], [1, 2], [1]]


@pytest.mark.parametrize(
    ("rewards", "waits"),
    [
        ([GOOD, failed(FailureKind.UNREACHABLE)], True),
        ([failed(FailureKind.TIMEOUT), failed(FailureKind.SERVER_ERROR)], True),
        ([failed(FailureKind.RATE_LIMITED)], True),
        # One bad response among good ones, and failures that asking again can't mend.
        ([GOOD, failed(FailureKind.TIMEOUT)], False),
        ([failed(FailureKind.UNREADABLE_REPLY)] * 2, False),
        ([failed(FailureKind.UNSCORABLE_INSTRUCTION)] * 2, False),
        ([failed(FailureKind.CONTEXT_OVERFLOW), failed(FailureKind.REJECTED)], False),
        ([], False),
    ],
)
async def test_what_counts_as_an_outage(rewards, waits):
    ask = Script(rewards, [GOOD] * len([r for r in rewards if r.error]))
    await guard().judged(ask, len(rewards))
    assert len(ask.asked) == 1 + waits


async def test_outage_ends_with_endpoint_and_last_error():
    ask = Script([failed(FailureKind.UNREACHABLE)])
    with pytest.raises(JudgeOutageError) as stopped:
        await guard(outage_timeout_s=0.1).judged(ask, 1)
    for part in ("http://judge:8001/v1", "0.1 s", "--flip_outage_timeout_s", "unreachable: detail of unreachable"):
        assert part in str(stopped.value)
    assert len(ask.asked) > 2


async def test_judge_that_hangs_does_not_outlast_the_limit():
    calls = []

    async def ask(numbers):
        calls.append(numbers)
        if len(calls) > 1:
            await asyncio.Event().wait()
        return [failed(FailureKind.TIMEOUT)]

    with pytest.raises(JudgeOutageError, match="timeout"):
        await guard(outage_timeout_s=0.1).judged(ask, 1)


async def test_too_many_failures_over_a_full_window_stop_training():
    watched = guard(failure_window=3, max_failure_rate=0.5, outage_timeout_s=0.05)
    bad = failed(FailureKind.UNREADABLE_REPLY)
    for _ in range(2):
        await watched.judged(Script([GOOD, bad, bad]), 3)
    with pytest.raises(JudgeOutageError, match="6 of 9 judgements failed over the last 3 groups"):
        await watched.judged(Script([GOOD, bad, bad], [bad, bad]), 3)


async def test_judge_that_recovers_is_not_held_up_by_its_past():
    watched = guard(failure_window=2, max_failure_rate=0.2, outage_timeout_s=0)
    bad = failed(FailureKind.UNREADABLE_REPLY)
    await watched.judged(Script([bad] * 5), 5)
    ask = Script([GOOD] * 4 + [bad])
    assert len(await watched.judged(ask, 5)) == 5
    assert len(ask.asked) == 1


async def test_old_failures_leave_the_window():
    watched = guard(failure_window=2, max_failure_rate=0.5, outage_timeout_s=0)
    bad, good = Script([failed(FailureKind.UNREADABLE_REPLY)]), Script([GOOD])
    for ask in (bad, good, good, bad, good):
        await watched.judged(ask, 1)


async def test_rollouts_judged_during_a_short_outage_get_their_true_reward(open_instruct, judge_server):
    port, url = judge_server.port, judge_server.url
    verdicts = {"good": inferred(INSTRUCTION), "bad": inferred("bake a cake")}
    config = make_config(open_instruct, url, {"flip_outage_timeout_s": 30.0}, verification_reward=1.0)
    judge_server.stop()
    groups = asyncio.gather(*(reward(config, ["good", "bad"]) for _ in range(3)))
    await asyncio.sleep(0.3)
    assert not groups.done()
    revived = JudgeServer(port)
    revived.reply = by_response(verdicts)
    revived.start()
    try:
        for scores, metrics in await groups:
            assert scores == [1.0, 0.0]
            assert metrics["flip/failure_rate"] == 0.0
    finally:
        revived.stop()


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
