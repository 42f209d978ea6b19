"""What a local run notes of a step: gaps where nobody gave a reward, F1 where the rewards are one."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")
from open_instruct_flip.local.history import HistoryCallback

LOGS = {"reward": 0.5, "reward_std": 0.1, "rewards/true_rate/mean": 0.25}


@pytest.fixture
def noted(tmp_path):
    """The history's row of a step, and the callback's mean rewards, from what TRL logged."""

    def note(judge, **logs):
        callback = HistoryCallback(tmp_path, judge, {"seed": 1}, [], eval_every=20)
        callback.heldout.append(0.25)
        with callback:
            callback._task = callback._progress.add_task("", figures="")
            callback.on_log(None, SimpleNamespace(global_step=1, max_steps=2), None, LOGS | logs)
        return json.loads((tmp_path / "history.jsonl").read_text()), callback.rewards

    return note


def test_a_step_that_nobody_judged_is_a_gap(noted):
    row, rewards = noted("coin", **{"coin/failure_rate": 1.0})
    assert not {"reward", "reward_std", "f1"} & row.keys()
    assert row["true_rate"] == 0.25
    assert rewards == [pytest.approx(float("nan"), nan_ok=True)]


def test_a_reward_that_is_no_number_stays_one_for_the_comparison_to_mark(noted):
    row, rewards = noted("coin", reward=float("nan"), reward_std=float("nan"))
    assert (row["reward"], row["reward_std"]) == ("NaN", "NaN")
    assert rewards == [pytest.approx(float("nan"), nan_ok=True)]


def test_rewards_with_precision_are_f1_whatever_the_judge_is_called(noted):
    row, _ = noted("coin", **{"coin/precision": 0.4, "coin/failure_rate": 0.5})
    assert row["f1"] == row["reward"] == 0.5


def test_other_rewards_are_not(noted):
    row, _ = noted("flip", **{"flip/failure_rate": 0.0})
    assert "f1" not in row
