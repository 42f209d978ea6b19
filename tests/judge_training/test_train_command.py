"""`flip judge train`: real runs of TRL's trainer on the local judge."""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, T5Config
from trl import SFTConfig

from open_instruct_flip.commands.main import run
from open_instruct_flip.compare.sources import read_any
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training import follow, memory, train
from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.judge_training.lessons import Prompts
from open_instruct_flip.judge_training.measures import HeldOut
from open_instruct_flip.judge_training.pairs import draw_pairs
from open_instruct_flip.local.models import model_path
from open_instruct_flip.rows.files import RowSource

SMALL = ("--heldout", "16", "--num_pairs", "16", "--batch_size", "8", "--eval_every", "2", "--max_reply_tokens", "8")


def arguments(data, out, *more, base=None):
    return ["judge", "train", data, "--base", str(base or model_path("judge")), "--out", str(out), *SMALL, *more]


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_a_run_leaves_a_judge_its_card_and_its_curve(data, tmp_path, capsys):
    out = tmp_path / "run"
    options = ("--negatives", "0.25", "--license", "mit", "--learning_rate", "1e-2", "--best_by", "likelihood_gain")
    given = arguments(data, out, *options)
    assert run(given) == 0
    assert f"flip serve judge {out}/judge" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["heldout", "history.jsonl", "judge", "run.json"]
    card = (out / "judge" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert "16 held-out pairs" in card
    assert "inferred by" not in card
    assert read_any(str(out)).series("f1")[0] == [0, 2, 3]
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert {"retrieval", "readability", "loss"} <= {name for row in rows for name in row}
    _, *after = [row["likelihood_gain"] for row in rows if "likelihood_gain" in row]
    saved = likelihood_gain(out / "judge", data)
    assert saved == pytest.approx(max(after), abs=0.02), "adapters are merged, and rounded to 16 bits"
    before, trained = weights(model_path("judge")), weights(out / "judge")
    assert any(not before[name].equal(trained[name]) for name in before), "it has learned something"
    assert_changes_are_told_and_can_be_looked_at(out, rows)
    assert run(given) == 2
    assert "is trained already" in capsys.readouterr().err
    assert run(arguments(data, out)) == 2
    assert "holds a run of other settings (negatives, license" in capsys.readouterr().err


def assert_changes_are_told_and_can_be_looked_at(out, curve):
    """The card's changes are those of the pairs in the files, and the files' means are those of the curve."""
    measured = {row["step"]: row for row in curve if "f1" in row}
    kept = int(re.search(r"Step (\d+) of", (out / "judge" / "README.md").read_text())[1])
    files = {step: read_lines(out / "heldout" / f"step_{step}.jsonl") for step in measured}
    assert [len(rows) for rows in files.values()] == [16] * len(measured)
    assert all(isinstance(row["inferred"], str | None) and row["instruction"] for row in files[kept])
    for name in ("f1", "retrieval", "readability", "likelihood_gain"):
        for step, rows in files.items():
            assert fmean(row[name] for row in rows) == pytest.approx(measured[step][name])
        paired = [after[name] - before[name] for before, after in zip(files[0], files[kept], strict=True)]
        told = f"| {fmean(paired):.3f} ± {stdev(paired) / 4:.3f} |"
        (line,) = [line for line in (out / "judge" / "README.md").read_text().splitlines() if f"| {name} |" in line]
        assert told in line


def read_lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def likelihood_gain(folder, data):
    """What a judge has of the measure on the pairs that `arguments` holds out."""
    config = JudgeTrainingConfig(str(folder), "runs", num_pairs=16, heldout=16, max_reply_tokens=1)
    prompts = Prompts(AutoTokenizer.from_pretrained(folder), config)
    heldout = draw_pairs(RowSource.find(data).rows(), config).heldout
    judge = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return HeldOut(heldout, prompts, config).measure(judge).means()["likelihood_gain"]


def test_a_judge_that_reads_worse_than_its_base_is_told(data, tmp_path, capsys):
    assert run(arguments(data, tmp_path / "run", "--full", "--learning_rate", "1")) == 0
    said = capsys.readouterr().err
    assert re.search(r"warning: f1 is below the base's: -0\.\d{3} ± 0\.\d{3}\n", said)
    assert "warning: f1, by which it was chosen, is no better than the base's" in said


def test_the_loss_of_a_batch_is_the_models_own(data, tmp_path, config):
    prompts = Prompts(AutoTokenizer.from_pretrained(config.base), config)
    pairs = draw_pairs(RowSource.find(data).rows(), replace(config, num_pairs=16)).train[:5]
    examples = [prompts.inference(pair).columns() for pair in pairs]
    model = AutoModelForCausalLM.from_pretrained(config.base, dtype=torch.float32)
    options = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": []}
    trainer = train.JudgeTrainer(
        heldout=None,
        heldout_folder=None,
        model=model,
        args=SFTConfig(output_dir=str(tmp_path), **options),
        train_dataset=Dataset.from_list(examples),
        processing_class=prompts.tokenizer,
    )
    batch = trainer.data_collator(examples)
    gradients = []
    for loss in (trainer.compute_loss(model, dict(batch)), model(**batch).loss):
        model.zero_grad()
        loss.backward()
        gradients.append([loss.detach(), *(weight.grad.clone() for weight in model.parameters())])
    torch.testing.assert_close(*gradients)
    tokens = (batch["labels"] != -100).sum()
    half = trainer.compute_loss(model, dict(batch), num_items_in_batch=2 * tokens)
    torch.testing.assert_close(half.detach(), gradients[0][0] / 2)


def test_all_weights_are_trained_by_full_on_pairs_that_a_teacher_inferred(rows, tmp_path):
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row | {"inferred_by": "hosted_vllm/big"}) + "\n" for row in rows))
    given = arguments(str(data), tmp_path / "run", "--full", "--learning_rate", "1e-2", "--eval_every", "30")
    assert run([*given, "--precision", "bfloat16", "--epochs", "12"]) == 0
    curve = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    (rate,) = [row["tokens_per_s"] for row in curve if row.get("tokens_per_s") is not None]
    assert rate > 1
    card = (tmp_path / "run" / "judge" / "README.md").read_text()
    assert "Instructions in the data were inferred by `hosted_vllm/big`" in card
    assert "Instructions that it is measured on were inferred by `hosted_vllm/big`" in card
    assert "products in bfloat16" in card
    before, after = weights(model_path("judge")), weights(tmp_path / "run" / "judge")
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_a_judge_is_measured_on_the_pairs_that_are_given_for_it(rows, tmp_path):
    tests = tmp_path / "tests.jsonl"
    half = "\ud83d"  # of a surrogate pair, which UTF-8 can't hold
    tests.write_text("".join(json.dumps({**row, "prompt": row["prompt"] + half}) + "\n" for row in rows[40:]))
    inferred = [row | {"inferred_by": "hosted_vllm/big"} for row in rows[:40]]
    learn = tmp_path / "pairs.jsonl"
    learn.write_text("".join(json.dumps(row) + "\n" for row in inferred))
    assert run(arguments(str(learn), tmp_path / "run", "--heldout_data", str(tests))) == 0
    card = (tmp_path / "run" / "judge" / "README.md").read_text()
    assert f"16 held-out pairs of `{tests}`, whose instructions were not trained on" in card
    assert "Instructions in the data were inferred by `hosted_vllm/big`." in card
    assert "measured on were inferred" not in card


def test_a_killed_run_goes_on_from_its_last_checkpoint(data, tmp_path, capsys):
    out = tmp_path / "run"
    given = arguments(data, out, "--epochs", "3", "--patience", "9")
    with subprocess.Popen([sys.executable, "-m", "open_instruct_flip", *given], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((out / "checkpoints").glob("checkpoint-*/trainer_state.json")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    torn = out / "checkpoints" / "checkpoint-1999"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 19')
    assert run([*given, "--seed", "2"]) == 2
    assert "other settings (seed, pairs)" in capsys.readouterr().err
    assert run(given) == 0
    said = capsys.readouterr().err
    assert "goes on from checkpoint-" in said
    assert "step 0/6" not in said
    assert read_any(str(out)).series("f1")[0] == [0, 2, 4, 6]
    assert (out / "judge" / "README.md").exists()


def break_off(monkeypatch, step):
    """Have runs end where this step would end, as when they are killed."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == step:
            raise KilledError
        control.should_evaluate |= state.global_step == state.max_steps

    monkeypatch.setattr(follow.Follower, "on_step_end", on_step_end)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("broken_at", [3, 5])
def test_a_run_that_was_broken_off_ends_with_the_judge_of_one_that_was_not(broken_at, data, tmp_path, monkeypatch):
    options = ("--num_pairs", "24", "--epochs", "2", "--learning_rate", "1e-2", "--patience", "9", "--full")
    assert run(arguments(data, tmp_path / "whole", *options)) == 0
    with monkeypatch.context() as patch:
        break_off(patch, broken_at)
        with pytest.raises(KilledError):
            run(arguments(data, tmp_path / "broken", *options))
    assert run(arguments(data, tmp_path / "broken", *options)) == 0
    whole, broken = (weights(tmp_path / name / "judge") for name in ("whole", "broken"))
    for name, weight in whole.items():
        torch.testing.assert_close(broken[name], weight, msg=name)
    last = [read_lines(tmp_path / name / "heldout" / "step_6.jsonl") for name in ("whole", "broken")]
    assert last[0] == last[1]


def test_where_the_best_checkpoint_is_gone_the_card_is_of_the_weights_that_are_saved(data, tmp_path, monkeypatch):
    def killed(*_):
        raise KilledError

    options = ("--epochs", "3", "--learning_rate", "1", "--full", "--patience", "9")
    with monkeypatch.context() as patch:
        patch.setattr(train, "_save", killed)
        with pytest.raises(KilledError):
            run(arguments(data, tmp_path / "run", *options))
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "moved" / "heldout" / "step_0.jsonl").unlink()
    assert run(arguments(data, tmp_path / "moved", *options)) == 0
    curve = read_lines(tmp_path / "moved" / "history.jsonl")
    gains = {row["step"]: row["likelihood_gain"] for row in curve if "f1" in row}
    (kept,) = re.findall(r"Step (\d) of 6 was kept", (tmp_path / "moved" / "judge" / "README.md").read_text())
    assert likelihood_gain(tmp_path / "moved" / "judge", data) == pytest.approx(gains[int(kept)], abs=0.05)


def test_a_base_whose_template_takes_no_system_turn_is_refused_before_data_is_read(tmp_path, capsys):
    base = without_template(tmp_path)
    (base / "chat_template.jinja").write_text(
        "{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ turn.role + ': ' + turn.content }}{% endfor %}"
    )
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no json\n")
    assert_refused(arguments(str(bad), tmp_path / "run", base=base), "System role not supported", tmp_path, capsys)


def test_wandb_is_looked_for_before_the_start(data, tmp_path, capsys, monkeypatch):
    find = train.importlib.util.find_spec
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    given = arguments(data, tmp_path / "run", "--wandb_project", "judges")
    assert_refused(given, "--wandb_project needs wandb: pip install", tmp_path, capsys)


def without_template(tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(model_path("judge"), folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--base", "nowhere/base"), "--base nowhere/base is no model"),
        (("--heldout", "8"), "--heldout must be at least 16, the size of a line-up; got 8"),
        (("--heldout", "50"), "60 different instructions are left of 60 rows, too few to hold 50 out"),
        (("--negatives", "2"), "--negatives lies in [0, 1], got 2"),
        (("--device_batch_size", "3"), "--batch_size 8 is no multiple of --device_batch_size 3"),
        (("--max_length", "64"), "--max_length 64 holds 0 pairs to train on"),
        (("--packing", "--device", "cpu"), "--packing needs a GPU"),
        (("--decontaminate", "nowhere.jsonl"), "no such file or folder: nowhere.jsonl"),
        (("--prompt_dir", "nowhere"), "--prompt_dir nowhere holds none of"),
        (("--heldout_data", "nowhere.jsonl"), "no such file or folder: nowhere.jsonl"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(more, says, data, tmp_path, capsys):
    assert_refused(arguments(data, tmp_path / "run", *more), says, tmp_path, capsys)


def test_a_base_without_a_chat_template_is_refused(data, tmp_path, capsys):
    given = arguments(data, tmp_path / "run", base=without_template(tmp_path))
    assert_refused(given, "has no chat template", tmp_path, capsys)


def test_too_little_memory_is_said_before_the_start(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda gpu: 10**6)
    given = arguments(data, tmp_path / "run", "--full")
    assert_refused(given, "GB of memory, and 0.0 GB are free: try --device_batch_size 1", tmp_path, capsys)


def test_a_base_that_does_not_go_on_with_text_is_refused(config):
    with pytest.raises(UsageError, match="is no language model that goes on with text"):
        memory.needed_bytes(T5Config(), config, 500, gpu=False, bfloat16=False)


def assert_refused(given, says, tmp_path, capsys):
    assert run(given) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(data, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert run(arguments(data, tmp_path, "--restart")) == 2
    assert "is not empty and holds no run" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    ("precision", "gpu", "features", "bfloat16"),
    [
        ("auto", False, {"amx_bf16", "avx512_bf16"}, True),
        ("auto", False, {"avx512_bf16"}, False),
        ("auto", False, None, False),
        ("float32", False, {"amx_bf16"}, False),
        ("bfloat16", False, None, True),
        ("auto", True, None, True),
        ("float32", True, None, False),
    ],
)
def test_products_are_in_bfloat16_where_the_device_makes_them_so_or_it_is_asked_for(
    precision, gpu, features, bfloat16, config, monkeypatch
):
    monkeypatch.setattr(train, "cpu_features", lambda: features)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert train._bfloat16(replace(config, precision=precision), gpu=gpu) == bfloat16


def test_more_weights_and_longer_batches_need_more_memory(config):
    base = AutoConfig.from_pretrained(config.base)

    def need(longest=500, **options):
        return memory.needed_bytes(base, replace(config, **options), longest, gpu=False, bfloat16=False)

    parameters = AutoModelForCausalLM.from_pretrained(config.base).num_parameters()
    assert need(longest=0, full=True) == pytest.approx(2 * 16 * parameters, rel=0.01)
    assert need() < need(full=True)
    assert need(gradient_checkpointing=True) < need() < need(longest=1000)
