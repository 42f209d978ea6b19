"""Two real training steps: TRL's GRPOTrainer, a real judge server, the shipped models."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from open_instruct_flip.commands.main import run
from open_instruct_flip.judges.esfp.slot import TEMPLATE_WITHOUT_EXPLANATION, Slot, write_slot
from open_instruct_flip.local import masked
from open_instruct_flip.local.config import LocalConfig
from open_instruct_flip.local.models import model_path
from open_instruct_flip.local.run import _serving
from open_instruct_flip.local.run_folder import run_folder

TRAIN = ("local", "train", "--steps", "2", "--num_prompts", "2", "--num_samples", "4", "--heldout_prompts", "4")


ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"} | {"OMP_NUM_THREADS": "1"}


def flip(*arguments):
    command = [sys.executable, "-m", "open_instruct_flip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


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
    assert not _listens(_port(out))


@pytest.mark.parametrize("judge", ["likelihood", "esfp"])
def test_a_judge_that_writes_nothing_reads_in_the_process_of_the_run(judge, tmp_path):
    masked.save_masked_model(tmp_path / "esfp", seed=0)
    write_slot(tmp_path / "esfp", Slot(TEMPLATE_WITHOUT_EXPLANATION, max_length=masked.MAX_LENGTH), {})
    out = tmp_path / "run"
    done = flip(*TRAIN, "--judge", judge, "--esfp_model", str(tmp_path / "esfp"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    rewards = [row for row in rows if "reward" in row]
    assert len(rewards) == 2
    assert all(0 < row["reward"] < 1 and row["judge_failure_rate"] == 0 for row in rewards)
    assert not (out / "judge_server.log").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--judge", "referee"], "no judge is called 'referee'; there are esfp, flip, likelihood, listwise"),
        (["--stepz", "2"], "No such option"),
        (["--steps", "0"], "--steps must be above 0, got 0"),
        (["--num_samples", "1"], "at least 2"),
        (["--dataset", "nowhere"], "nowhere has no train.jsonl"),
        (["--judge", "esfp"], "the esfp judge needs --esfp_model"),
        (["--judge", "esfp", "--esfp_model", "nowhere"], "nowhere is no folder of an esfp model"),
        (["--policy_model", "nowhere/policy"], "policy has no config.json"),
        (["--judge_url", "localhost:1"], "has no http"),
        (["--judge", "listwise"], "knows flip, pointwise and likelihood; for --judge listwise give"),
        (["--judge", "flip+likelihood"], "for --judge flip+likelihood give --judge_model"),
        (["--reply_contract", "json"], "'json' is not one of 'auto', 'prefill', 'schema', 'free'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, words, tmp_path, capsys):
    assert run(["local", "train", "--out", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_judge_of_another_package_is_taken_by_its_name(tmp_path, monkeypatch, judge_double):
    (tmp_path / "coin_judge.py").write_text(
        "from open_instruct_flip.judges.pointwise import PointwiseJudge\n"
        "class CoinJudge(PointwiseJudge):\n    name = 'coin'\n"
    )
    info = tmp_path / "coin_judge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coin-judge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[open_instruct_flip.judges]\ncoin = coin_judge:CoinJudge\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = LocalConfig(judge="coin", judge_url=judge_double().api_base)
    with _serving(config, tmp_path / "run") as judge:
        assert type(judge).__name__ == "CoinJudge"


@pytest.mark.parametrize(
    ("given", "asked"),
    [({}, (True, "free")), ({"reasoning": False, "reply_contract": "auto"}, (False, "auto"))],
)
def test_a_judge_model_is_asked_as_it_was_trained_to_reply(given, asked, judge_double):
    config = LocalConfig(judge_url=judge_double().api_base, **given)
    with _serving(config, Path("unused")) as judge:
        assert (judge.config.reasoning, judge.config.reply_contract) == asked


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


def test_a_run_that_is_refused_leaves_the_earlier_one(tmp_path):
    (tmp_path / "history.jsonl").write_text("{}\n")
    assert run(["local", "train", "--out", str(tmp_path), "--overwrite", "--dataset", "nowhere"]) == 2
    assert run(["local", "train", "--out", str(tmp_path), "--overwrite", "--vllm_python", "nowhere"]) == 2
    assert (tmp_path / "history.jsonl").exists()


def test_overwrite_removes_the_run_and_nothing_else(tmp_path):
    (tmp_path / "history.jsonl").write_text("{}\n")
    (tmp_path / "policy").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with run_folder(tmp_path, overwrite=True):
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_overwrite_leaves_a_run_that_is_still_written(tmp_path, capsys):
    hold = "import sys, time, pathlib\nfrom open_instruct_flip.local.run_folder import run_folder\n"
    hold += "folder = pathlib.Path(sys.argv[1])\nwith run_folder(folder, overwrite=False):\n"
    hold += "    (folder / 'history.jsonl').write_text('{}')\n    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)]) as other:
        while not (tmp_path / "history.jsonl").exists():
            assert other.poll() is None
            time.sleep(0.05)
        assert run(["local", "train", "--out", str(tmp_path), "--overwrite"]) == 2
        assert capsys.readouterr().err == (
            f"flip: error: another run is writing {tmp_path}: give another --out, or stop that run\n"
        )
        assert (tmp_path / "history.jsonl").exists()
        other.kill()
    with run_folder(tmp_path, overwrite=True):  # the lock of a killed run ends with it
        assert not (tmp_path / "history.jsonl").exists()


def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own_ends_in_one_line(tmp_path, monkeypatch, capsys):
    def interrupted_import(*_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt as error:
            raise ImportError("cannot import name 'GRPOTrainer' from partially initialized module 'trl'") from error

    monkeypatch.setattr("open_instruct_flip.local.run._quiet", interrupted_import)
    monkeypatch.setattr("open_instruct_flip.local.run._serving", lambda *_: nullcontext())
    assert run(["local", "train", "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err.strip() == "flip: error: interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_stops_the_judge_server_too(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "open_instruct_flip", "local", "train", "--out", str(out), "--steps", "500"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as run_process:
        deadline = time.monotonic() + 180
        while "Uvicorn running" not in _server_log(out):
            assert time.monotonic() < deadline
            assert run_process.poll() is None
            time.sleep(0.2)
        port = _port(out)
        assert _listens(port)
        run_process.send_signal(signal.SIGINT)
        _, error = run_process.communicate(timeout=60)
    # Python may end by the signal itself, where it struck in a module's own code: a shell calls both 130.
    assert run_process.returncode in (130, -signal.SIGINT)
    assert error.splitlines()[-1] == "flip: error: interrupted"
    assert not _listens(port)


def _server_log(out):
    log = out / "judge_server.log"
    return log.read_text() if log.exists() else ""


def _port(out):
    return int(_server_log(out).split("http://127.0.0.1:")[1].split()[0])


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_shipped_models_did_what_their_report_says():
    report = json.loads(Path(model_path("judge").parent, "report.json").read_text())
    assert report["flip_heldout_f1"] > 0.95
    assert report["flip_readable"] > 0.98
    assert report["pointwise_r"] > 0.9
    assert 0.2 < report["policy_true_rate_greedy"] < 0.4
