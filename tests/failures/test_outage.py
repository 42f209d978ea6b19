"""A judge that is down: the work waits, judges again, and stops with the reason when it takes too long."""

from __future__ import annotations

import asyncio
import logging

import pytest

from open_instruct_flip.errors import JudgeRefusedError, JudgeUnusableError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.outage import JudgeOutageError, OutageGuard
from open_instruct_flip.failures.trial import QUESTION
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Reward, Usage

ASKED = Usage(10, 5, 1)
SILENT = Reward(score=0.0, empty=True, copy_rate=0.0, overlap=0.0)
GOOD = Reward(score=0.5, usage=ASKED, copy_rate=0.0, overlap=0.0)
TURNS = [{"role": "user", "content": "Name three lakes"}]
TEXTS = ["a", "b", "c", "d", "e"]
REFUSAL = JudgeRefusedError("http://judge:8001/v1 refused the API key (401)")


def failed(kind):
    return Reward(error=kind, detail=f"detail of {kind}", usage=Usage(requests=1), copy_rate=0.0, overlap=0.0)


DOWN = failed(FailureKind.UNREACHABLE)
BAD = failed(FailureKind.UNREADABLE_REPLY)


class ScriptedJudge(Judge):
    """Answers from a list of rounds, the last one for ever; a round may be an error. Notes what it was asked."""

    name = "scripted"

    def __init__(self, *rounds, trial=DOWN):
        super().__init__(model="hosted_vllm/judge", api_base="http://judge:8001/v1")
        self.rounds = list(rounds)
        self.trial = trial
        self.asked = []

    async def score_group(self, conversation, responses):
        if conversation[-1]["content"] == QUESTION:
            return [self.trial] * len(responses)
        self.asked.append(list(responses))
        answer = self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


class ScriptedGroupJudge(ScriptedJudge):
    compares_group = True


def guard(judge, proven=False, **options):
    return OutageGuard(judge, FailureConfig(**options), proven=proven)


async def score(judge, num_responses, **options):
    return await guard(judge, **options).score(TURNS, TEXTS[:num_responses])


async def test_only_what_failed_is_judged_again():
    judge = ScriptedJudge([GOOD, DOWN, DOWN], [DOWN, Reward(score=0.1)], [Reward(score=0.9)])
    rewards = await score(judge, 3)
    assert [r.score for r in rewards] == [0.5, 0.9, 0.1]
    assert judge.asked == [["a", "b", "c"], ["b", "c"], ["b"]]


async def test_a_judge_that_compares_sees_the_whole_group_again():
    judge = ScriptedGroupJudge([GOOD, DOWN], [Reward(score=0.1), Reward(score=0.9)])
    rewards = await score(judge, 2)
    assert [r.score for r in rewards] == [0.1, 0.9]  # all of the second comparison: two of them don't go together
    assert judge.asked == [["a", "b"], ["a", "b"]]


async def test_a_response_that_says_nothing_hides_no_outage():
    judge = ScriptedJudge([SILENT, DOWN, DOWN], [Reward(score=0.1), Reward(score=0.9)])
    rewards = await score(judge, 3)
    assert [r.score for r in rewards] == [0.0, 0.1, 0.9]
    assert judge.asked == [["a", "b", "c"], ["b", "c"]]


@pytest.mark.parametrize(
    ("rewards", "waits"),
    [
        ([GOOD, DOWN], True),
        ([failed(FailureKind.TIMEOUT), failed(FailureKind.SERVER_ERROR)], True),
        ([failed(FailureKind.RATE_LIMITED)], True),
        ([failed(FailureKind.REFUSED)] * 2, True),
        # One bad response among good ones, and failures that asking again can't mend.
        ([GOOD, failed(FailureKind.TIMEOUT)], False),
        ([BAD] * 2, False),
        ([failed(FailureKind.UNSCORABLE_INSTRUCTION)] * 2, False),
        ([failed(FailureKind.CONTEXT_OVERFLOW), failed(FailureKind.REJECTED)], False),
    ],
)
async def test_what_counts_as_an_outage(rewards, waits):
    judge = ScriptedJudge(rewards, [GOOD] * len([r for r in rewards if r.error]))
    await score(judge, len(rewards))
    assert len(judge.asked) == 1 + waits


async def test_outage_ends_with_endpoint_and_last_error():
    judge = ScriptedJudge([DOWN])
    with pytest.raises(JudgeOutageError) as stopped:
        await score(judge, 1, outage_timeout_s=0.1)
    for part in ("http://judge:8001/v1", "0.1 s", "--outage_timeout_s", "unreachable: detail of unreachable"):
        assert part in str(stopped.value)
    assert len(judge.asked) > 2


async def test_judge_that_hangs_does_not_outlast_the_limit():
    class Hanging(ScriptedJudge):
        async def score_group(self, conversation, responses):
            if self.asked:
                await asyncio.Event().wait()
            return await super().score_group(conversation, responses)

    with pytest.raises(JudgeOutageError, match="timeout"):
        await score(Hanging([failed(FailureKind.TIMEOUT)]), 1, outage_timeout_s=0.1)


async def test_a_group_that_fails_while_the_judge_answers_something_else_holds_nobody_up():
    judge = ScriptedJudge([failed(FailureKind.SERVER_ERROR)], trial=GOOD)
    (reward,) = await asyncio.wait_for(score(judge, 1), 5)
    assert reward.error is FailureKind.SERVER_ERROR
    assert len(judge.asked) == 4  # the last time after something else was answered


async def test_a_judge_that_is_back_when_it_is_tried_judges_the_group_after_all():
    down = [failed(FailureKind.UNREACHABLE)]
    judge = ScriptedJudge(down, down, down, [GOOD], trial=GOOD)
    assert await asyncio.wait_for(score(judge, 1), 5) == [GOOD]


async def test_many_such_groups_are_an_outage_all_the_same():
    watched = guard(ScriptedJudge([failed(FailureKind.SERVER_ERROR)], trial=GOOD), failure_window=2, outage_timeout_s=1)
    await watched.score(TURNS, ["a"])
    with pytest.raises(JudgeOutageError):
        await watched.score(TURNS, ["a"])


# A group that was rejected: the judge is asked something else at once.

REJECTED = failed(FailureKind.REJECTED)


class RejectingJudge(ScriptedJudge):
    """Takes a moment for its trials, and counts them."""

    trials = 0

    async def score_group(self, conversation, responses):
        if conversation[-1]["content"] == QUESTION:
            self.trials += 1
            await asyncio.sleep(0.001)
        return await super().score_group(conversation, responses)


async def test_a_rejected_group_is_its_own_fault_where_the_trial_is_answered():
    judge = RejectingJudge([REJECTED] * 2, trial=GOOD)
    assert await score(judge, 2) == [REJECTED] * 2
    assert (len(judge.asked), judge.trials) == (2, 1)


@pytest.mark.parametrize("group", [[REJECTED] * 2, [REJECTED, failed(FailureKind.TIMEOUT)]])
async def test_a_judge_that_rejects_everything_is_an_outage(group):
    judge = RejectingJudge(group, trial=REJECTED)
    with pytest.raises(JudgeOutageError, match=r"the judge rejects every request for 0\.1 s .*last error: "):
        await score(judge, 2, outage_timeout_s=0.1)
    assert len(judge.asked) == 1, "only the trial is repeated"


async def test_what_was_rejected_in_an_outage_is_judged_again_after_it():
    judge = RejectingJudge([REJECTED] * 2, [GOOD] * 2, trial=REJECTED)
    waiting = asyncio.create_task(score(judge, 2))
    while judge.trials < 3:  # noqa: ASYNC110  # a double without events
        await asyncio.sleep(0.001)
    judge.trial = GOOD
    assert await waiting == [GOOD] * 2
    assert len(judge.asked) == 2


async def test_groups_that_are_rejected_at_the_same_time_share_a_trial():
    judge = RejectingJudge([REJECTED], trial=GOOD)
    watched = guard(judge, max_failure_rate=1.0)
    await asyncio.gather(*(watched.score(TURNS, ["a"]) for _ in range(20)))
    assert (len(judge.asked), judge.trials) == (40, 1)  # each group once more after the trial


async def test_a_trial_that_nobody_waits_for_is_cancelled():
    watched = guard(RejectingJudge([REJECTED], trial=GOOD))
    waiting = asyncio.create_task(watched.score(TURNS, ["a"]))
    while len(asyncio.all_tasks()) < 3:  # noqa: ASYNC110  # nothing tells of a task's start
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# What a judge refuses: wrong use before its first answer, an outage after it.


async def test_a_judge_that_refuses_before_it_has_answered_is_wrong_use():
    judge = ScriptedJudge(REFUSAL)
    with pytest.raises(JudgeRefusedError):
        await score(judge, 1)
    assert len(judge.asked) == 1


@pytest.mark.parametrize("earlier", [GOOD, BAD])
async def test_a_judge_that_refuses_after_it_has_answered_is_an_outage(earlier):
    watched = guard(ScriptedJudge([earlier], REFUSAL, REFUSAL, [GOOD]))
    await watched.score(TURNS, ["a"])
    assert await watched.score(TURNS, ["a"]) == [GOOD]


async def test_a_judge_that_preflight_has_seen_answer_is_waited_for_from_the_first_refusal_on():
    assert await score(ScriptedJudge(REFUSAL, [GOOD]), 1, proven=True) == [GOOD]


async def test_a_refusal_that_lasts_is_told_in_its_own_words():
    with pytest.raises(
        JudgeOutageError, match=r"the judge refuses the key, .* for 0\.05 s .*refused the API key \(401"
    ):
        await score(ScriptedJudge(REFUSAL), 2, proven=True, outage_timeout_s=0.05)


async def test_a_score_that_took_no_request_proves_nothing():
    watched = guard(ScriptedJudge(REFUSAL))
    await watched.score(TURNS, [""])
    with pytest.raises(JudgeRefusedError):
        await watched.score(TURNS, ["a"])


async def test_a_judge_that_can_not_do_what_is_asked_is_never_waited_for():
    judge = ScriptedJudge(JudgeUnusableError("returned no prompt_logprobs"))
    with pytest.raises(JudgeUnusableError, match="prompt_logprobs"):
        await score(judge, 1, proven=True)
    assert len(judge.asked) == 1


# The window.


async def test_too_many_failures_over_a_full_window_stop_the_work():
    judge = ScriptedJudge([GOOD, BAD, BAD], [GOOD, BAD, BAD], [GOOD, BAD, BAD], [BAD, BAD])
    watched = guard(judge, failure_window=3, max_failure_rate=0.5, outage_timeout_s=0.05)
    for _ in range(2):
        await watched.score(TURNS, TEXTS[:3])
    with pytest.raises(JudgeOutageError, match="6 of 9 judgements failed over the last 3 groups"):
        await watched.score(TURNS, TEXTS[:3])


async def test_judge_that_recovers_is_not_held_up_by_its_past():
    judge = ScriptedJudge([BAD] * 5, [GOOD] * 4 + [BAD])
    watched = guard(judge, failure_window=2, max_failure_rate=0.2, outage_timeout_s=0)
    await watched.score(TURNS, TEXTS)
    assert len(await watched.score(TURNS, TEXTS)) == 5
    assert len(judge.asked) == 2


async def test_old_failures_leave_the_window():
    judge = ScriptedJudge([BAD], [GOOD], [GOOD], [BAD], [GOOD])
    watched = guard(judge, failure_window=2, max_failure_rate=0.5, outage_timeout_s=0)
    for _ in range(5):
        await watched.score(TURNS, ["a"])


async def test_faults_of_the_input_are_not_the_judges():
    fault = failed(FailureKind.UNSCORABLE_INSTRUCTION)
    watched = guard(ScriptedJudge([fault]), failure_window=1, max_failure_rate=0.0, outage_timeout_s=0)
    assert await watched.score(TURNS, ["a"]) == [fault]


# Scores and words.


async def test_a_group_without_a_score_gets_the_mean_of_those_before():
    watched = guard(ScriptedJudge([GOOD]))
    assert watched.final_scores([BAD, BAD]) == [0.5, 0.5]
    assert watched.final_scores([Reward(score=0.2), Reward(score=0.4), BAD]) == [0.2, 0.4, 0.2]
    assert watched.final_scores([BAD]) == [pytest.approx(0.3)]


async def test_many_waiting_groups_say_it_once(caplog):
    judge = ScriptedJudge(*[[DOWN]] * 30, [GOOD])
    watched = guard(judge)
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(watched.score(TURNS, ["a"]) for _ in range(20)))
    said = [record.message for record in caplog.records]
    assert sum("waiting" in text for text in said) < 10
    assert sum("answers again" in text for text in said) == 1
