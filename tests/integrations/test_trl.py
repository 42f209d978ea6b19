"""The TRL reward function: groups, order, thinking, failures, and what it logs."""

import pickle

import pytest

from open_instruct_flip import FlipJudge
from open_instruct_flip.failures import outage
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.outage import JudgeOutageError
from open_instruct_flip.integrations.trl import flip_reward, rollouts
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Reward

FAILURES = {
    "late": Reward(error=FailureKind.TIMEOUT, detail="too slow"),
    "gibberish": Reward(error=FailureKind.UNREADABLE_REPLY, detail="no score"),
}


class EchoJudge(Judge):
    """Rewards a response by its own number, fails on other texts, and notes the groups it was given."""

    name = "echo"
    outages = 0

    def __init__(self):
        super().__init__(model="hosted_vllm/echo", api_base="http://127.0.0.1:9/v1")
        self.groups = []

    async def score_group(self, conversation, responses):
        if self.outages:
            self.outages -= 1
            return [Reward(error=FailureKind.UNREACHABLE, detail="no route") for _ in responses]
        self.groups.append((conversation, list(responses)))
        return [FAILURES[r] if r in FAILURES else Reward(score=float(r)) for r in responses]


def turn(content, role="user"):
    return [{"role": role, "content": content}]


async def test_each_prompt_is_judged_as_one_group_and_rewards_keep_their_order():
    judge = EchoJudge()
    prompts = [turn("a"), turn("a"), turn("b"), turn("b")]
    completions = [turn(text, "assistant") for text in ("0.1", "0.2", "0.3", "0.4")]
    assert await flip_reward(judge)(prompts=prompts, completions=completions) == [0.1, 0.2, 0.3, 0.4]
    assert judge.groups == [(turn("a"), ["0.1", "0.2"]), (turn("b"), ["0.3", "0.4"])]


async def test_a_prompt_that_comes_twice_in_a_batch_has_two_groups_with_their_own_means():
    prompts = ["a"] * 2 + ["b"] * 2 + ["a"] * 2
    rewards = await flip_reward(EchoJudge())(prompts=prompts, completions=["0.8", "late", "1", "0", "0.2", "0.2"])
    assert rewards == pytest.approx([0.8, 0.8, 1, 0, 0.2, 0.2])


class ContentJudge(EchoJudge):
    """Likes every response."""

    async def score_group(self, conversation, responses):
        return [Reward(score=0.8) for _ in responses]


async def test_a_policy_that_copies_shows_in_the_log_and_is_told_of_once(caplog):
    reward, metrics = flip_reward(ContentJudge()), {}
    prompts, copied = [turn("Write a haiku about the sea.")] * 128, turn("Write a haiku about the sea.", "assistant")
    for completion, warnings in ((turn("Waves.", "assistant"), 0), (copied, 1), (copied, 1)):
        await reward(prompts=prompts, completions=[completion] * 128, log_metric=metrics.__setitem__)
        assert metrics["echo/copy_rate"] == metrics["echo/overlap"] == float(completion == copied)
        assert len(caplog.records) == warnings
    assert "repeats 50% of its instructions' runs of 5 words in its last 256 responses" in caplog.text


async def test_failures_get_what_the_shared_rule_gives_them_and_are_logged_by_kind():
    metrics = {}
    completions = ["0.2", "late", "gibberish", "0.6"]
    reward = flip_reward(EchoJudge())
    rewards = await reward(prompts=["a"] * 4, completions=completions, log_metric=metrics.__setitem__)
    assert rewards == pytest.approx([0.2, (0.2 + 0.2 + 0.6) / 3, 0.2, 0.6]), "the group's mean, and its lowest"
    rates = {name: metrics[f"echo/{name}"] for name in ("failure_rate", "request_failure_rate", "parse_failure_rate")}
    assert rates == {"failure_rate": 0.5, "request_failure_rate": 0.25, "parse_failure_rate": 0.25}
    zero = flip_reward(EchoJudge(), failures=FailureConfig(on_failure="zero", on_unreadable="zero"))
    assert await zero(prompts=["a"] * 4, completions=completions) == [0.2, 0.0, 0.0, 0.6]


async def test_a_group_without_any_reward_gets_the_mean_of_the_groups_before_it():
    reward = flip_reward(EchoJudge())
    assert await reward(prompts=["a", "b", "b"], completions=["0.8", "gibberish", "gibberish"]) == [0.8, 0.8, 0.8]


async def test_a_judge_that_is_down_is_waited_for_and_then_ends_training_with_its_error(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.01)
    judge = EchoJudge()
    judge.outages = 2
    assert await flip_reward(judge)(prompts=["a", "b"], completions=["0.5", "0.25"]) == [0.5, 0.25]
    judge.outages = 1000
    function = flip_reward(judge, failures=FailureConfig(outage_timeout_s=0.05))
    with pytest.raises(JudgeOutageError, match=r"http://127\.0\.0\.1:9/v1; last error: unreachable: no route"):
        await function(prompts=["a", "b"], completions=["0.5", "0.25"])


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


async def test_without_the_tokenizer_a_warning_says_once_that_opened_thinking_is_not_seen(caplog):
    rollouts._warn_that_the_template_is_unknown.cache_clear()
    await flip_reward(EchoJudge())(prompts=["a"], completions=["0.5"])
    assert not caplog.messages, "no template is applied to text"
    for _ in range(2):
        await flip_reward(EchoJudge())(prompts=[turn("a")], completions=[turn("0.5", "assistant")])
    (warning,) = caplog.messages
    assert "pass processing_class=tokenizer to flip_reward" in warning


async def test_each_batch_logs_its_own_inferences_failed_ones_too(judge_double):
    server = judge_double(fault=lambda number, body: 400 if "too odd" in str(body) else None)
    columns = {}
    async with FlipJudge("hosted_vllm/judge", server.api_base) as judge:
        reward = flip_reward(judge)
        await reward(prompts=["Write a poem"], completions=["b"], log_extra=columns.__setitem__)
        assert columns["flip/inferred_instruction"][0]
        await reward(prompts=["Write a poem"], completions=["too odd"], log_extra=columns.__setitem__)
    assert columns == {"flip/inferred_instruction": [""]}


async def test_it_pickles():
    function = pickle.loads(pickle.dumps(flip_reward(EchoJudge())))
    assert function.__name__ == "echo"
    assert await function(prompts=["a"], completions=["0.5"]) == [0.5]
