"""Single responses, whose group is what their prompt got before."""

from __future__ import annotations

import pytest

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import FlipError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.singles import SinglesGuard
from open_instruct_flip.rewards import FailureKind, Reward

CONVERSATION = [{"role": "user", "content": "Write a haiku about the sea."}]


class StandInJudge(FlipJudge):
    """Judges by the first word of a response: "good" gets 0.75, any other fails in the way that it names."""

    async def score_group(self, conversation, responses):
        return [
            Reward(score=0.75) if kind == "good" else Reward(error=FailureKind(kind), detail="of a test")
            for kind in (response.split()[0] for response in responses)
        ]


@pytest.mark.parametrize(
    ("option", "kind"), [("on_unreadable", "unreadable_reply"), ("on_failure", "unscorable_instruction")]
)
async def test_a_failure_that_raises_raises_once(option, kind):
    judge = StandInJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1")
    guard = SinglesGuard(judge, FailureConfig(**{option: "raise"}))
    assert (await guard.score(CONVERSATION, "good waves"))[0] == 0.75
    with pytest.raises(FlipError, match=kind):
        await guard.score(CONVERSATION, f"{kind} waves")
    assert (await guard.score(CONVERSATION, "good waves again"))[0] == 0.75
