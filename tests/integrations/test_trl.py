"""The TRL reward function: groups, order, thinking, failures, and what it logs."""

import pickle

import pytest

from open_instruct_flip import FlipJudge
from open_instruct_flip.errors import FlipError
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Reward


class EchoJudge(Judge):
    """Rewards a response by its own number, fails on "fail", and notes the groups it was given."""

    name = "echo"

    def __init__(self):
        super().__init__(model="hosted_vllm/echo", api_base="http://127.0.0.1:9/v1")
        self.groups = []

    async def score_group(self, conversation, responses):
        self.groups.append((conversation, list(responses)))
        return [
            Reward(error=FailureKind.TIMEOUT, detail="too slow") if r == "fail" else Reward(score=float(r))
            for r in responses
        ]


def turn(content, role="user"):
    return [{"role": role, "content": content}]


async def test_each_prompt_is_judged_as_one_group_and_rewards_keep_their_order():
    judge = EchoJudge()
    prompts = [turn("a"), turn("b"), turn("a"), turn("b")]
    completions = [turn(text, "assistant") for text in ("0.1", "0.2", "fail", "0.4")]
    metrics = {}
    rewards = await flip_reward(judge)(prompts=prompts, completions=completions, log_metric=metrics.__setitem__)
    assert rewards == [0.1, 0.2, 0.1, 0.4], "a failure gets its group's mean: beside another reward None would be 0.0"
    assert judge.groups == [(turn("a"), ["0.1", "fail"]), (turn("b"), ["0.2", "0.4"])]
    assert metrics["echo/failure_rate"] == 0.25


async def test_a_failed_group_gets_the_batchs_mean_and_a_failed_batch_nothing():
    reward = flip_reward(EchoJudge())
    assert await reward(prompts=["a", "b", "b"], completions=["fail", "0.2", "0.4"]) == [pytest.approx(0.3), 0.2, 0.4]
    assert await reward(prompts=["a", "b"], completions=["fail", "fail"]) == [None, None]


async def test_plain_text_prompts_and_completions_are_taken_too():
    judge = EchoJudge()
    assert await flip_reward(judge)(prompts=["a"], completions=["0.5"], solution=["unused"]) == [0.5]
    assert judge.groups == [(turn("a"), ["0.5"])]


async def test_thinking_is_not_judged():
    judge = EchoJudge()
    assert await flip_reward(judge)(prompts=["a"] * 2, completions=["<think>It asks.</think>\n0.5", "0.75"]) == [
        0.5,
        0.75,
    ]
    # No template is applied to text, so that a text that ends with the tag has opened the thinking.
    assert await flip_reward(judge)(prompts=["a <think>"], completions=["It asks.</think>0.25"]) == [0.25]
    assert judge.groups == [(turn("a"), ["0.5", "0.75"]), (turn("a <think>"), ["0.25"])]


async def test_each_batch_logs_its_own_inferences_failed_ones_too(judge_double):
    server = judge_double(fault=lambda number, body: 400 if number else None)
    columns = {}
    async with FlipJudge("hosted_vllm/judge", server.api_base) as judge:
        reward = flip_reward(judge)
        await reward(prompts=["Write a poem"], completions=["b"], log_extra=columns.__setitem__)
        assert columns["flip/inferred_instruction"][0]
        await reward(prompts=["Write a poem"], completions=["c"], log_extra=columns.__setitem__)
    assert columns == {"flip/inferred_instruction": [""]}


async def test_it_pickles():
    function = pickle.loads(pickle.dumps(flip_reward(EchoJudge())))
    assert function.__name__ == "echo"
    assert await function(prompts=["a"], completions=["0.5"]) == [0.5]


async def test_a_judge_that_gives_nothing_stops_training_with_its_reason():
    function = flip_reward(EchoJudge(), max_failed_batches=3)
    batch = {"prompts": ["a", "a"], "completions": ["fail", "fail"]}
    assert await function(**batch) == [None, None]
    assert await function(prompts=["a"], completions=["0.5"]) == [0.5]
    assert await function(**batch) == [None, None]
    assert await function(**batch) == [None, None]
    with pytest.raises(FlipError, match=r"http://127\.0\.0\.1:9/v1 gave no reward for 3 batches.*timeout: too slow"):
        await function(**batch)
