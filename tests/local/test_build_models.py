"""The making of the local models, for a few steps: every stage runs, and what comes out can be loaded and measured."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_instruct_flip.commands.main import run
from open_instruct_flip.judges.esfp.judge import EsfpJudge
from open_instruct_flip.local import lessons, training, world
from open_instruct_flip.local.models import model_path

STAGES = ("judge, short prompts", "judge, real prompts", "judge, scores", "policy")
FEW = [f"--{name}=2" for name in ("judge_short_steps", "judge_steps", "judge_score_steps", "policy_steps")]
SMALL = [*FEW, "--batch_size", "4", "--evaluated", "4", "--esfp_pairs", "8"]


def test_a_short_build_makes_every_model_and_their_report(tmp_path, capsys):
    assert run(["local", "build-models", "--out", str(tmp_path), *SMALL]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" 2/2")[0] for line in lines if " 2/2 loss" in line] == list(STAGES)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"flip_heldout_f1", "pointwise_r", "policy_true_rate_greedy", "esfp_heldout_accuracy"} <= set(report)
    sizes = {}
    for name in ("judge", "policy"):
        model = AutoModelForCausalLM.from_pretrained(model_path(name, tmp_path))
        assert model.dtype == torch.bfloat16
        rope = json.loads((tmp_path / name / "config.json").read_text())["rope_parameters"]
        assert rope["rope_type"] == "default", "vLLM 0.19, which Open Instruct pins, reads no nested ones"
        sizes[name] = (model.config.model_type, model.num_parameters())
    assert sizes["judge"][0] == "qwen3"
    assert 0.7e6 < sizes["judge"][1] < 1.1e6
    assert sizes["policy"][0] == "olmo3"
    assert 0.9e6 < sizes["policy"][1] < 1.3e6
    judge = EsfpJudge(esfp_model=str(model_path("esfp", tmp_path)))
    spec = world.split()[1][0]
    response = world.respond(spec, random.Random(0))
    (reward,) = judge.score_sync([{"role": "user", "content": world.instruction(spec)}], [response])
    assert 0 < reward.score < 1
    assert not reward.truncated


def test_one_model_alone_is_made_anew_and_keeps_the_vocabulary_that_all_share(tmp_path, capsys):
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "kept").touch()
    assert run(["local", "build-models", "--only", "policy", "--out", str(tmp_path), *SMALL]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"judge", "policy", "report.json"}
    assert {path.name for path in (tmp_path / "judge").iterdir()} == {"kept"}
    made, ships = (AutoTokenizer.from_pretrained(model_path("policy", folder)) for folder in (tmp_path, None))
    assert made.get_vocab() == ships.get_vocab()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch_size", "0"], "--batch_size must be at least 1, got 0"),
        (["--policy_steps", "-1"], "--policy_steps must be at least 1, got -1"),
        (["--esfp_pairs", "1"], "--esfp_pairs must be at least 2, got 1"),
        (["--evaluated", "1"], "--evaluated must be at least 2, got 1"),
        (["--share_of_scores", "1.5"], "--share_of_scores must be 0 to 1, got 1.5"),
        (["--policy_keep", "nan"], "--policy_keep must be 0 to 1, got nan"),
    ],
)
def test_a_build_that_cannot_work_is_refused_in_one_line(arguments, says, tmp_path, capsys):
    assert run(["local", "build-models", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_shared_prefix_changes_nothing_but_the_time():
    tokenizer = AutoTokenizer.from_pretrained(model_path("judge"))
    judge = AutoModelForCausalLM.from_pretrained(model_path("judge"), dtype=torch.float32)
    stream = training.batches(lessons.judge_lessons(0, 0.5, short=False), tokenizer, 4)
    batch = next(batch for batch in stream if batch.prefix is not None)
    rows = len(batch.ids)
    whole = training.Batch(
        None,
        torch.cat([batch.prefix.expand(rows, -1), batch.ids], dim=1),
        torch.cat([torch.full((rows, batch.prefix.shape[1]), training.IGNORED), batch.labels], dim=1),
    )
    with torch.no_grad():
        torch.testing.assert_close(training.reply_loss(judge, batch), training.reply_loss(judge, whole))
