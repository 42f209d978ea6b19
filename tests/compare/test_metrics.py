"""Each trainer's keys become this project's names."""

import math

import pytest

from open_instruct_flip.compare.metrics import METRICS, canonical_rows
from open_instruct_flip.compare.run import Gap, Run

BY_NAME = {metric.name: metric for metric in METRICS}


@pytest.mark.parametrize(
    ("key", "metric"),
    [
        ("train/reward", "reward"),
        ("reward", "reward"),
        ("objective/general-flip_reward", "reward"),
        ("objective/general-pointwise_reward", "reward"),
        ("objective/verifiable_reward", "reward"),
        ("flip/f1_mean", "f1"),
        ("train/rewards/true_rate/mean", "true_rate"),
        ("heldout_true_rate", "heldout_true_rate"),
        ("train/completions/mean_length", "completion_length"),
        ("val/sequence_lengths", "completion_length"),
        ("train/kl", "kl"),
        ("objective/kl2_avg", "kl"),
        ("policy/entropy_avg", "entropy"),
        ("flip/judge_latency_s", "judge_latency_s"),
        ("flip/failure_rate", "judge_failure_rate"),
        ("train/pointwise/failure_rate", "judge_failure_rate"),
        ("pointwise/judge_latency_s", "judge_latency_s"),
        ("flip/instruction_copy_rate", "copy_rate"),
        ("train/likelihood/copy_rate", "copy_rate"),
        ("flip/instruction_overlap", "overlap"),
        ("flip/overlap", "overlap"),
    ],
)
def test_a_key_is_known(key, metric):
    rows, logged_as = canonical_rows([{"training_step": 3, key: 0.5}])
    assert rows == ({"step": 3, metric: 0.5},)
    assert logged_as == {"step": "training_step", metric: key}


@pytest.mark.parametrize(
    "key",
    [
        "objective/general-flip_correct_rate",
        "eval/objective/general-flip_reward",
        "val/sequence_lengths_min",
        "flip/request_failure_rate",
    ],
)
def test_a_similar_key_is_not_taken(key):
    assert canonical_rows([{"training_step": 3, key: 0.5}])[0] == ({"step": 3},)


def test_a_curve_is_of_one_key_and_a_step_without_it_has_no_value():
    judged, verified = "objective/general-flip_reward", "objective/verifiable_reward"
    logged = [{"training_step": 1, judged: 0.2}, {"training_step": 2, verified: 0.9}, {"training_step": 3, judged: 0.3}]
    rows, logged_as = canonical_rows(logged)
    assert [row.get("reward") for row in rows] == [0.2, None, 0.3]
    assert logged_as["reward"] == judged


def test_a_judges_reward_goes_before_the_mean_over_all_verifiers():
    record = {"training_step": 1, "objective/verifiable_reward": 1.0, "objective/general-flip_reward": 2.0}
    assert canonical_rows([record])[0][0]["reward"] == 2.0


@pytest.mark.parametrize(
    ("record", "step"),
    [
        ({"training_step": 4, "global_step": 96, "episode": 96, "_step": 4}, 4),
        ({"train/global_step": 4, "_step": 17}, 4),
        ({"step": 4, "epoch": 0.1}, 4),
    ],
)
def test_the_step_is_the_trainers(record, step):
    assert canonical_rows([record])[0][0]["step"] == step


def test_wandbs_own_step_is_no_step():
    assert canonical_rows([{"_step": 4, "reward": 1.0}])[0] == ()


def test_records_without_a_step_belong_to_the_last_one():
    logged = [{"kl": 9.0}, {"training_step": 1, "reward": 0.5, "_runtime": 3.0}, {"kl": 0.1}, {"training_step": 2}]
    rows, _ = canonical_rows(logged)
    assert rows == ({"step": 1, "wall_time_s": 3.0, "reward": 0.5, "kl": 0.1}, {"step": 2})


@pytest.mark.parametrize("value", ["text", None, [1.0], {"bins": []}])
def test_what_is_no_number_is_left_out(value):
    assert canonical_rows([{"step": 1, "reward": value}])[0] == ({"step": 1},)


@pytest.mark.parametrize("value", [math.nan, math.inf, "NaN", "-Infinity"])
def test_what_is_not_finite_is_kept_as_a_gap(value):
    rows, _ = canonical_rows([{"step": 1, "reward": 0.5}, {"step": 2, "reward": value}, {"step": 3, "reward": value}])
    run = Run("a", "a", rows=rows)
    assert run.series("reward") == ([1], [0.5])
    assert run.gap("reward") == Gap(first=2, count=2)
    assert run.gap("kl") is None


def test_a_step_that_is_not_finite_is_no_step():
    assert canonical_rows([{"step": math.nan, "reward": 0.5}])[0] == ()


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("reward", 0.9149, "0.91"),
        ("judge_failure_rate", 0.0125, "1.2%"),
        ("completion_length", 1234.4, "1234"),
        ("completion_length", 22.24, "22.2"),
        ("kl", 0.044, "0.0440"),
        ("kl", 0.0, "0"),
        ("judge_latency_s", 2.345, "2.35"),
    ],
)
def test_values_are_shown_with_three_digits_at_most(metric, value, text):
    assert BY_NAME[metric].format(value) == text
