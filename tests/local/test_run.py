"""Two real training steps: TRL's GRPOTrainer, a real judge server, the shipped models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from open_instruct_flip.commands.main import run
from open_instruct_flip.local.models import model_path

TRAIN = ("local", "train", "--steps", "2", "--num_prompts", "2", "--num_samples", "4", "--heldout_prompts", "4")


def flip(*arguments, **options):
    environment = os.environ | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_API_KEY", None)
    command = [sys.executable, "-m", "open_instruct_flip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, **options)


@pytest.mark.parametrize("judge", ["flip", "pointwise"])
def test_a_run_leaves_its_curve_its_policy_and_no_process(judge, tmp_path):
    out = tmp_path / judge
    done = flip(*TRAIN, "--judge", judge, "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    steps = {row["step"]: row for row in rows if "reward" in row}
    assert set(steps) == {1, 2}
    for row in steps.values():
        assert 0 < row["reward"] <= 1
        assert row["grad_norm"] > 0
        assert row["judge_failure_rate"] == 0
    assert {row["step"] for row in rows if "heldout_true_rate" in row} == {0, 2}
    assert model_path("policy", out) == out / "policy"
    assert list((out / "wandb").glob("offline-run-*"))
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr
    port = (out / "judge_server.log").read_text().split("http://127.0.0.1:")[1].split()[0]
    assert port not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--judge", "referee"], "'referee' is not one of"),
        (["--stepz", "2"], "No such option"),
        (["--steps", "0"], "--steps must be above 0, got 0"),
        (["--num_samples", "1"], "at least 2"),
        (["--dataset", "nowhere"], "nowhere has no train.jsonl"),
        (["--policy_model", "nowhere/policy"], "policy has no config.json"),
        (["--judge_url", "localhost:1"], "has no http"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, words, tmp_path, capsys):
    assert run(["local", "train", "--out", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_model_folder_without_its_tokenizer_is_refused(tmp_path, capsys):
    folder = tmp_path / "policy"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((model_path("policy") / name).read_bytes())
    assert run(["local", "train", "--policy_model", str(folder), "--out", str(tmp_path / "run")]) == 2
    assert "has no tokenizer.json" in capsys.readouterr().err


def test_an_earlier_run_is_not_overwritten_unasked(tmp_path, capsys):
    (tmp_path / "history.jsonl").write_text("{}\n")
    assert run(["local", "train", "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "history.jsonl").exists()


def test_the_shipped_models_did_what_their_report_says():
    report = json.loads(Path(model_path("judge").parent, "report.json").read_text())
    assert report["flip_heldout_f1"] > 0.95
    assert report["flip_readable"] > 0.98
    assert report["pointwise_r"] > 0.8
    assert 0.2 < report["policy_true_rate_greedy"] < 0.4
