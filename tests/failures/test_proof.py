"""A judge proves itself on built-in responses, or is refused with what to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from judge_double import JudgeDouble, reading_reply

from open_instruct_flip.conversation import Message
from open_instruct_flip.failures.proof import ANSWERED, MIN_READABLE, prove
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.rewards import FailureKind, Reward

OWN = dict(ANSWERED)


class Graded(Judge):
    """Gives each response the reward that `verdict` makes of whether it is its instruction's own."""

    name = "graded"
    verdict: Any

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        instruction = conversation[-1]["content"]
        return [self.verdict(instruction, response == OWN[instruction]) for response in responses]


def graded(verdict: Any) -> Graded:
    judge = Graded("hosted_vllm/judge", "http://127.0.0.1:9/v1")
    judge.verdict = verdict
    return judge


def unread(instruction: str, own: bool, count: int) -> Reward:
    if instruction in list(OWN)[:count]:
        return Reward(error=FailureKind.UNREADABLE_REPLY, detail="prose")
    return Reward(score=float(own))


@pytest.mark.parametrize("target", ["last_user", "system"])
async def test_a_judge_that_reads_passes_and_is_shown_no_instruction(target: str) -> None:
    with JudgeDouble(reply=reading_reply) as server:
        judge = FlipJudge("hosted_vllm/judge", server.api_base, judge_transport="direct", flip_target=target)
        proof = await prove(judge)
        shown = [body["messages"][-1]["content"] for body in server.bodies]
    assert not [text for text in shown for instruction in OWN if instruction in text]
    assert (proof.readable, proof.problem) == (10, None)
    assert proof.means[0] == 1.0
    assert proof.means[1] < 0.3


@pytest.mark.parametrize("count", [10 - MIN_READABLE, 10 - MIN_READABLE + 1])
async def test_eight_of_ten_must_be_readable(count: int) -> None:
    problem = (await prove(graded(lambda instruction, own: unread(instruction, own, count)))).problem
    if count <= 10 - MIN_READABLE:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(f"only {10 - count} of 10 built-in responses could be read: prose; try")


@pytest.mark.parametrize("verdict", [lambda i, own: Reward(score=0.5), lambda i, own: Reward(score=1.0 - own)])
async def test_a_judge_that_can_not_tell_or_prefers_strays_is_refused(verdict: Any) -> None:
    problem = (await prove(graded(verdict))).problem
    assert problem is not None
    assert "can't tell an answer from a stray one" in problem


async def test_requests_that_fail_are_no_unreadable_replies() -> None:
    failed = Reward(error=FailureKind.UNREACHABLE, detail="connection refused")
    problem = (await prove(graded(lambda instruction, own: failed))).problem
    assert problem == "only 0 of 10 built-in responses got a verdict: connection refused"


def test_no_word_of_a_response_gives_another_ones_instruction_away() -> None:
    for number, (_, response) in enumerate(ANSWERED):
        following = ANSWERED[(number + 1) % len(ANSWERED)][0]
        assert following.lower() not in response.lower()
