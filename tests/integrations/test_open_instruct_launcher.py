"""The launcher as a user calls it, on Open Instruct's double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from upstream_double import DOUBLE

import open_instruct_flip
from open_instruct_flip.integrations.open_instruct.launcher import main

POLICY = Path(open_instruct_flip.__file__).parent / "local/models/policy"
INSTRUCTION = "Name the three largest lakes of Sweden, please"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def environment(**changed):
    """A Ray cluster is named, so that a machine without a GPU passes for one; an empty value unsets a variable."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPEN_INSTRUCT", "RAY_", "HOSTED_VLLM"))}
    clean |= {"OPEN_INSTRUCT_DIR": str(DOUBLE), "RAY_ADDRESS": "127.0.0.1:6379"}
    return {k: v for k, v in (clean | changed).items() if v}


@pytest.fixture
def launch(monkeypatch, capsys, without_open_instruct):
    """Run the launcher within this process."""

    def run(*arguments, **changed):
        monkeypatch.setattr(os, "environ", environment(**changed))
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["launcher"])
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


def launch_process(*command, **changed):
    """Run a command as a user does."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment(**changed), capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def dataset(tmp_path):
    def write(*rows):
        folder = tmp_path / "dataset"
        folder.mkdir(exist_ok=True)
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


def row(truth=INSTRUCTION, label="general-flip"):
    return {"messages": [{"role": "user", "content": INSTRUCTION}], "ground_truth": truth, "dataset": label}


def flags(server, folder):
    return [
        "--llm_judge_model",
        "hosted_vllm/judge",
        "--flip_api_base",
        server.url,
        "--dataset_mixer_list",
        folder,
        "1.0",
    ]


def test_trainer_runs_as_main_with_flip_in_it(judge_server, dataset):
    done = launch_process("-m", "open_instruct_flip", "train", *flags(judge_server, dataset(row())), "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "TRAINED FlipRewardConfig" in done.stdout
    assert "'general-flip'" in done.stdout
    assert "judge_proven=True" in done.stdout
    assert {body["model"] for body in judge_server.bodies} == {"judge"}  # asked before training


def test_flip_train_is_the_same(judge_server, dataset):
    done = launch_process("-m", "open_instruct_flip", "train", *flags(judge_server, dataset(row())))
    assert done.returncode == 0, done.stderr
    assert "TRAINED FlipRewardConfig" in done.stdout


def test_help_shows_flip_flags_beside_open_instructs():
    done = launch_process("-m", "open_instruct_flip", "train", "--help")
    assert done.returncode == 0
    for flag in ("--flip_api_base", "--flip_on_failure", "--llm_judge_model", "--seed"):
        assert flag in done.stdout
    assert "Reward of a response whose request failed" in " ".join(done.stdout.split())


def test_help_without_open_instruct_shows_our_flags_and_says_how_to_get_it():
    done = launch_process("-m", "open_instruct_flip", "train", "--help", OPEN_INSTRUCT_DIR="", RAY_ADDRESS="")
    assert done.returncode == 0
    *_, last = done.stdout.splitlines()
    assert "--flip_on_unreadable" in done.stdout
    assert "group_lowest" in done.stdout
    assert "github.com/allenai/open-instruct" in last
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OPEN_INSTRUCT_DIR": "", "RAY_ADDRESS": ""}, ("lacks Open Instruct", "and a GPU")),
        ({"OPEN_INSTRUCT_DIR": ""}, ("lacks Open Instruct", "github.com/allenai/open-instruct")),
        ({"RAY_ADDRESS": "", "CUDA_VISIBLE_DEVICES": "-1"}, ("lacks a GPU",)),
        ({"OPEN_INSTRUCT_DIR": "/nowhere"}, ("OPEN_INSTRUCT_DIR=/nowhere",)),
    ],
)
def test_what_is_missing_is_said_in_one_line(launch, environment, words):
    done = launch("--seed", "1", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    if "/nowhere" not in done.stderr:
        assert "flip local train" in done.stderr


def test_dataset_is_refused_with_row_numbers(launch, judge_server, dataset):
    folder = dataset(row(), row("something else"), row(), row(label="no-such-verifier"))
    done = launch(*flags(judge_server, folder))
    assert done.returncode == 2
    assert "row 2: ground_truth is not the last user turn" in done.stderr
    assert "row 4: no verifier serves the label 'no-such-verifier'" in done.stderr
    assert judge_server.bodies == []


def test_remapped_label_is_served(launch, judge_server, dataset):
    arguments = flags(judge_server, dataset(row(label="wildchat")))
    assert launch(*arguments).returncode == 2
    assert launch(*arguments, "--remap_verifier", "wildchat=general-flip").returncode == 0


def test_single_file_is_refused(launch, judge_server, dataset):
    folder = dataset(row())
    done = launch(*flags(judge_server, folder / "train.jsonl"))
    assert done.returncode == 2
    assert f"give {folder}" in done.stderr


def test_unknown_hub_dataset_is_left_to_open_instruct(judge_server):
    command = ("-m", "open_instruct_flip", "train", *flags(judge_server, "nobody/nothing"))
    done = launch_process(*command, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "nobody/nothing is not checked" in done.stderr


def test_every_endpoint_is_asked_and_the_dead_one_named(launch, judge_server, dataset):
    arguments = flags(judge_server, dataset(row()))
    arguments[3] = f"{judge_server.url},http://127.0.0.1:9/v1"
    done = launch(*arguments, "--flip_max_attempts", 1)
    assert done.returncode == 2
    assert "http://127.0.0.1:9/v1" in done.stderr
    assert "TRAINED" not in done.stdout


@pytest.mark.parametrize(("answer", "words"), [(404, "404"), ("gibberish", "could be read"), (401, "401")])
def test_judge_that_does_not_answer_right_is_refused(launch, judge_server, dataset, answer, words):
    judge_server.reply = lambda body: answer
    done = launch(*flags(judge_server, dataset(row())))
    assert done.returncode == 2
    assert words in done.stderr
    assert judge_server.url in done.stderr


def test_model_that_is_not_served_is_named_with_those_that_are(launch, judge_server, dataset):
    judge_server.reply = lambda body: 404
    arguments = flags(judge_server, dataset(row()))
    arguments[1] = "hosted_vllm/other"
    done = launch(*arguments)
    assert done.returncode == 2
    assert "serves no 'other' but judge" in done.stderr
    assert "--flip_api_base" in done.stderr


def test_the_judges_that_the_labels_ask_for_are_asked_and_no_other(launch, judge_server, dataset):
    folder = dataset(row(), row(label="general-quality"), row(label="to-the-baseline"))
    done = launch(*flags(judge_server, folder), "--remap_verifier", "to-the-baseline=general-pointwise")
    assert done.returncode == 0, done.stderr
    shown = "".join(str(message["content"]) for body in judge_server.bodies for message in body["messages"])
    forms = {key for key in ("instruction", "score", "winner", "ranking") if f'{{"{key}": ' in shown}
    assert forms == {"instruction", "score"}  # FLIP's and the pointwise judge's


def test_a_judge_that_the_server_can_not_be_is_refused_before_training(launch, judge_server, dataset):
    # The server infers instructions well, but returns no prompt_logprobs.
    done = launch(*flags(judge_server, dataset(row(), row(label="general-likelihood"))))
    assert done.returncode == 2
    assert "general-likelihood: hosted_vllm/judge returned no prompt_logprobs" in done.stderr
    assert "TRAINED" not in done.stdout


def test_no_judge_is_asked_where_no_label_needs_one(launch, judge_server, dataset):
    done = launch(*flags(judge_server, dataset(row(label="general-quality"))))
    assert done.returncode == 0, done.stderr
    assert judge_server.bodies == []
    assert "judge_proven=False" in done.stdout


def test_an_option_that_no_needed_judge_has_is_refused(launch, judge_server, dataset):
    judge_server.reply = lambda body: json.dumps({"score": 7})
    arguments = flags(judge_server, dataset(row(label="general-pointwise")))
    done = launch(*arguments, "--flip_similarity", "bleu")
    assert done.returncode == 2
    assert "labels ask for: the pointwise judge has no --flip_similarity: leave it out" in done.stderr
    done = launch(*flags(judge_server, dataset(row(), row(label="general-pointwise"))), "--flip_similarity", "recall")
    assert "--flip_similarity" not in done.stderr


def test_judges_of_other_packages_serve_their_labels_and_a_broken_one_is_one_line(judge_server, dataset, tmp_path):
    (tmp_path / "coin_judge.py").write_text(
        "from open_instruct_flip.judges.base import Judge\n"
        "from open_instruct_flip.rewards import Reward\n"
        "class CoinJudge(Judge):\n"
        "    name = 'coin'\n"
        "    async def score_group(self, conversation, responses):\n"
        "        known = set(conversation[-1]['content'].split())\n"
        "        return [Reward(score=float(not known.isdisjoint(response.split()))) for response in responses]\n"
    )
    info = tmp_path / "coin_judge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coin-judge\nVersion: 1.0\n")
    judges = "coin = coin_judge:CoinJudge\nbent = nowhere_to_be_found:BentJudge\n"
    (info / "entry_points.txt").write_text(f"[open_instruct_flip.judges]\n{judges}")
    command = ("-m", "open_instruct_flip", "train")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = launch_process(*command, *flags(judge_server, dataset(row(label="general-coin"))), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't be imported") == 1
    assert "'general-coin'" in done.stdout
    done = launch_process(*command, *flags(judge_server, dataset(row(label="general-bent"))), PYTHONPATH=path)
    assert done.returncode == 2
    assert "the judge 'bent' of the entry point" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("template", "opens"), [("olmo_thinker", "yes"), ("tulu", "no")])
def test_whether_the_template_opens_the_thinking_is_seen_and_reaches_the_verifier(
    launch, judge_server, dataset, template, opens
):
    policy = ("--model_name_or_path", POLICY, "--chat_template_name", template)
    done = launch(*flags(judge_server, dataset(row())), *policy)
    assert done.returncode == 0, done.stderr
    assert f"policy_opens_thinking={opens}" in done.stdout


def test_what_is_said_of_the_template_is_taken(launch, judge_server, dataset):
    policy = ("--model_name_or_path", POLICY, "--flip_policy_opens_thinking", "yes")
    done = launch(*flags(judge_server, dataset(row())), *policy)
    assert "policy_opens_thinking=yes" in done.stdout


def test_a_template_that_can_not_be_rendered_is_one_warning(launch, judge_server, dataset, caplog):
    done = launch(*flags(judge_server, dataset(row())), "--model_name_or_path", "/nowhere/policy")
    assert done.returncode == 0, done.stderr
    assert "policy_opens_thinking=auto" in done.stdout
    (warning,) = [record.message for record in caplog.records if "chat template" in record.message]
    assert "--flip_policy_opens_thinking yes" in warning


@pytest.mark.parametrize(("address", "warnings"), [("10.0.0.1:6379", 1), ("", 0)])
def test_a_judge_that_a_clusters_other_nodes_can_not_reach_is_one_warning(
    address, warnings, launch, judge_server, dataset, caplog
):
    # Resources that are told to Ray stand for a GPU, where no cluster does.
    done = launch(*flags(judge_server, dataset(row())), RAY_ADDRESS=address, RAY_OVERRIDE_RESOURCES="{}")
    assert done.returncode == 0, done.stderr
    assert sum("can be reached on this machine alone" in message for message in caplog.messages) == warnings


def test_judge_made_for_scores_only_passes(launch, judge_server, dataset):
    assert launch(*flags(judge_server, dataset(row(label="general-pointwise")))).returncode == 0


def test_missing_url_names_the_flag_of_the_launcher(launch, dataset):
    done = launch("--llm_judge_model", "hosted_vllm/judge", "--dataset_mixer_list", dataset(row()), "1.0")
    assert done.returncode == 2
    assert "--flip_api_base" in done.stderr


def test_impossible_flag_is_one_line(launch, judge_server, dataset):
    done = launch(*flags(judge_server, dataset(row())), "--flip_failure_window", "0")
    assert done.returncode == 2
    assert "--flip_failure_window must be above 0" in done.stderr


def test_checks_can_be_switched_off(launch, judge_server, dataset):
    done = launch(*flags(judge_server, dataset(row("wrong"))), "--flip_preflight", "False")
    assert done.returncode == 0, done.stderr
    assert judge_server.bodies == []


def test_reason_why_training_stopped_is_the_last_line_and_the_exit_code(launch, judge_server, dataset):
    reason = "training stops: the judge can't be reached"
    done = launch(*flags(judge_server, dataset(row())), "--fail_with", reason)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"flip train: error: {reason}"


def test_ray_workers_get_the_checkout_through_the_environment(monkeypatch):
    from open_instruct_flip.integrations.open_instruct import checkout

    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    checkout.put_on_path(str(DOUBLE))
    checkout.put_on_path(str(DOUBLE))
    assert os.environ["PYTHONPATH"] == f"/elsewhere{os.pathsep}{DOUBLE}"
    assert sys.path.count(str(DOUBLE)) == 1


@pytest.mark.parametrize(("label", "warnings"), [("general-pairwise", 1), ("general-flip", 0)])
def test_an_evaluation_by_a_judge_that_compares_responses_is_warned_of(
    label, warnings, launch, judge_server, dataset, tmp_path, caplog
):
    training, evaluation = dataset(row()), tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "test.jsonl").write_text(json.dumps(row(label=label)) + "\n")
    launch(*flags(judge_server, training), "--dataset_mixer_eval_list", str(evaluation), "1.0")
    assert sum("can't judge a single one" in message for message in caplog.messages) == warnings
