"""Every format of a run is read, the real thing: wandb writes the W&B runs, transformers the trainer states."""

import os
import subprocess
import sys

import pytest

from open_instruct_flip.compare.run import Gap
from open_instruct_flip.compare.sources import read_any, read_runs
from open_instruct_flip.compare.wandb_runs import find_log
from open_instruct_flip.errors import FlipError, UsageError

TRL_SCRIPT = """
import sys, wandb
run = wandb.init(mode="offline", dir=sys.argv[1], project="p", name="trl-run",
                 config={"seed": 3, "learning_rate": 1e-6})
for step in (1, 2, 3):
    wandb.log({"train/global_step": step, "train/reward": step / 10, "train/kl": 0.5, "table": "text"})
    wandb.log({"train/global_step": step, "heldout_true_rate": step / 4})
wandb.log({"train/global_step": 4, "train/reward": float("nan")})
run.finish()
"""
OPEN_INSTRUCT_SCRIPT = """
import sys, wandb
run = wandb.init(mode="offline", dir=sys.argv[1], project="p", name="grpo-run", config={"verification_reward": 10})
wandb.define_metric("training_step")
wandb.define_metric("*", step_metric="training_step")
for step in (1, 2):
    wandb.log({"training_step": step, "global_step": 24 * step, "episode": 24 * step, "time/total": 1.5,
               "objective/general-flip_reward": 4.0 + step, "flip/f1_mean": 0.4 + step / 10,
               "flip/f1_hist": wandb.Histogram([0.1, 0.9]), "val/sequence_lengths": 100.0}, step=step)
run.finish()
"""


def log_with_wandb(script, folder):
    folder.mkdir()
    env = os.environ | {"WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, env=env, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def trl_folder(tmp_path_factory):
    return log_with_wandb(TRL_SCRIPT, tmp_path_factory.mktemp("wandb") / "trl")


@pytest.fixture(scope="module")
def open_instruct_folder(tmp_path_factory):
    return log_with_wandb(OPEN_INSTRUCT_SCRIPT, tmp_path_factory.mktemp("wandb") / "oi")


def test_an_offline_wandb_run_of_trl(trl_folder):
    run = read_any(str(trl_folder))
    assert (run.name, run.seed, run.config) == ("trl-run", 3, {"seed": 3, "learning_rate": 1e-6})
    assert run.series("reward") == ([1, 2, 3], [0.1, 0.2, 0.3])
    assert run.gap("reward") == Gap(first=4, count=1)
    assert run.series("heldout_true_rate") == ([1, 2, 3], [0.25, 0.5, 0.75])
    assert run.logged_as["reward"] == "train/reward"
    seconds, _ = run.series("reward", over="wall_time_s")
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_an_offline_wandb_run_of_open_instruct(open_instruct_folder):
    run = read_any(str(open_instruct_folder))
    assert (run.name, run.judge) == ("grpo-run", "flip")
    assert run.series("reward") == ([1, 2], [5.0, 6.0])
    assert run.series("f1")[1] == pytest.approx([0.5, 0.6])
    assert run.series("completion_length") == ([1, 2], [100.0, 100.0])


def test_a_wandb_run_is_found_from_each_folder_around_it(trl_folder):
    log = find_log(trl_folder)
    for folder in (trl_folder, trl_folder / "wandb", log.parent):
        assert find_log(folder).resolve() == log.resolve()


def test_a_killed_wandb_run_is_read_up_to_its_end_and_the_user_is_told(trl_folder, tmp_path):
    whole = find_log(trl_folder).read_bytes()
    (tmp_path / "run-killed.wandb").write_bytes(whole[: whole.rindex(b"heldout_true_rate") + 4])
    run = read_any(str(tmp_path))
    assert run.series("reward") == ([1, 2, 3], [0.1, 0.2, 0.3])
    assert len(run.notes) == 1
    assert "incomplete" in run.notes[0]


def test_a_folder_of_several_wandb_runs_is_refused(tmp_path):
    for name in ("offline-run-1-a", "offline-run-2-b"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run-x.wandb").write_bytes(b"")
    with pytest.raises(UsageError, match="holds 2 W&B runs"):
        read_any(str(tmp_path))


def test_a_file_that_only_looks_like_a_wandb_run_is_empty(tmp_path):
    (tmp_path / "run-x.wandb").write_bytes(b"no log")
    with pytest.raises(UsageError, match="is empty"):
        read_any(str(tmp_path))


def trainer_state(folder, log_history):
    from transformers import TrainerState

    folder.mkdir(parents=True)
    TrainerState(log_history=log_history).save_to_json(str(folder / "trainer_state.json"))
    return folder


def test_the_newest_checkpoint_of_an_output_folder(tmp_path):
    entry = {"completions/mean_length": 20.0, "kl": 0.1, "epoch": 0.1}
    trainer_state(tmp_path / "out" / "checkpoint-9", [{"step": 9, "reward": 0.1} | entry])
    trainer_state(
        tmp_path / "out" / "checkpoint-10",
        [{"step": 9, "reward": 0.1} | entry, {"step": 10, "reward": 0.2} | entry, {"step": 10, "train_runtime": 5.0}],
    )
    for source in (tmp_path / "out", tmp_path / "out" / "checkpoint-10"):
        run = read_any(str(source))
        assert run.name == "out"
        assert run.series("reward") == ([9, 10], [0.1, 0.2])
        assert run.series("completion_length") == ([9, 10], [20.0, 20.0])
        assert run.series("reward", over="wall_time_s") == ([], [])
        assert "no times" in run.notes[0]


def test_an_empty_trainer_state_is_named(tmp_path):
    trainer_state(tmp_path / "checkpoint-1", [])
    with pytest.raises(UsageError, match="empty history"):
        read_any(str(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"log_history": 3}', '{"log_history": [1]}'])
def test_a_broken_trainer_state_is_named(tmp_path, content):
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(UsageError, match="is no trainer state"):
        read_any(str(tmp_path))


def test_what_is_no_run_says_what_was_looked_for(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match=r"holds no history\.jsonl, no trainer_state\.json and no W&B log"):
        read_any(str(tmp_path))
    with pytest.raises(UsageError, match="is a file"):
        read_any(str(tmp_path / "a.txt"))
    with pytest.raises(UsageError, match="does not exist"):
        read_any("no/such/folder/here")


def test_an_online_run_without_a_login_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FlipError, match="wandb login") as error:
        read_any("entity/project/run")
    assert not isinstance(error.value, UsageError)


def test_runs_of_the_same_name_are_told_apart_by_their_folders(make_run, tmp_path):
    first, second = make_run("a/flip", reward=[1.0]), make_run("b/flip", reward=[1.0])
    for folder, name in ((first, "flip"), (second, "flip")):
        (tmp_path / folder / "run.json").write_text(f'{{"name": "{name}"}}')
    assert [run.name for run in read_runs([first, second])] == [first, second]


def test_a_run_named_twice_is_refused(make_run):
    folder = make_run("a", reward=[1.0])
    with pytest.raises(UsageError, match="given 2 times"):
        read_runs([folder, folder])
