"""The shipped set: what it holds, that it is what its source builds, and that Open Instruct reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from open_instruct_flip.commands.main import run
from open_instruct_flip.data.validate import validate_dataset
from open_instruct_flip.rows.files import read_rows

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "datasets" / "general_chat"
VARIANTS = {"general_chat_flip": "general-flip", "general_chat": "general-quality"}


def test_the_data_folder_does_not_shadow_the_library() -> None:
    assert not list((ROOT / "datasets").rglob("*.py"))
    assert Path(str(datasets.__file__)).parent.parent != ROOT


@pytest.mark.parametrize(("name", "label"), VARIANTS.items())
def test_a_variant_loads_and_is_valid(tmp_path: Path, name: str, label: str) -> None:
    dataset = datasets.load_dataset(str(SHIPPED / name), split="train", cache_dir=str(tmp_path))
    assert len(dataset) >= 300
    assert set(dataset["dataset"]) == {label}
    assert validate_dataset(SHIPPED / name) == []


def test_the_prompts_are_varied() -> None:
    prompts = [row.columns["messages"] for row in read_rows(SHIPPED / "general_chat")]
    instructions = [messages[-1]["content"] for messages in prompts]
    assert sum(messages[0]["role"] == "system" for messages in prompts) >= 40
    assert sum(any(turn["role"] == "assistant" for turn in messages) for messages in prompts) >= 35
    assert sum("\n" in instruction for instruction in instructions) >= 30
    openings = Counter(tuple(instruction.lower().split()[:3]) for instruction in instructions)
    assert openings.most_common(1)[0][1] <= len(prompts) // 40
    lengths = sorted(len(instruction.split()) for instruction in instructions)
    assert lengths[len(lengths) // 10] < 20
    assert lengths[-len(lengths) // 10] > 45


def test_the_command_builds_the_shipped_set_from_its_source(tmp_path: Path) -> None:
    source, size = SHIPPED / "source.jsonl", len(list(read_rows(SHIPPED / "source.jsonl")))
    arguments = ["data", "build", "--input", str(source), "--out", str(tmp_path), "--name", "general_chat"]
    assert run([*arguments, "--num_prompts", str(size), "--multi_turn", "--license", "apache-2.0"]) == 0
    for name in VARIANTS:
        built, shipped = (json.loads((folder / name / "manifest.json").read_text()) for folder in (tmp_path, SHIPPED))
        assert built["content_sha256"] == shipped["content_sha256"]
        assert (built["config"], built["dropped"]) == (shipped["config"], shipped["dropped"])
        assert built["num_prompts"] == size
        new, old = ([row.columns for row in read_rows(folder / name)] for folder in (tmp_path, SHIPPED))
        assert new == old


# Runs in Open Instruct's own environment, with a word tokenizer that has a chat template: no download.
OPEN_INSTRUCT = """
import json, sys
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from open_instruct.dataset_transformation import TRANSFORM_FNS

folder, out = sys.argv[1:]
rows = load_dataset(folder, split="train", cache_dir=out)
vocabulary = {"<unk>": 0, "<pad>": 1}
for row in rows:
    for message in row["messages"]:
        for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(message["content"]):
            vocabulary.setdefault(word, len(vocabulary))
words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>")
tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"
tokenize = TRANSFORM_FNS["rlvr_tokenize_v1"][0]
keep = TRANSFORM_FNS["rlvr_max_length_filter_v1"][0]
result = [tokenize(dict(row), tokenizer) for row in rows]
print(json.dumps({
    "function": tokenize.__name__,
    "kept": sum(keep(row, tokenizer, max_prompt_token_length=2048) for row in result),
    "ground_truths": [row["ground_truth"] for row in result],
    "labels": [row["dataset"] for row in result],
    "queries": [row["prompt"] for row in result],
}))
"""


@pytest.mark.skipif(not os.environ.get("OPEN_INSTRUCT_DIR"), reason="OPEN_INSTRUCT_DIR names no Open Instruct checkout")
@pytest.mark.parametrize(("name", "label"), VARIANTS.items())
def test_open_instruct_tokenizes_every_row(tmp_path: Path, name: str, label: str) -> None:
    result = run_open_instruct(SHIPPED / name, tmp_path)
    rows = [row.columns for row in read_rows(SHIPPED / name)]
    assert result["function"] == "rlvr_tokenize_v3"
    assert result["kept"] == len(rows)
    assert result["ground_truths"] == [[row["ground_truth"]] for row in rows]
    assert result["labels"] == [[label]] * len(rows)
    assert result["queries"] == ["\n".join(f"{m['role']}: {m['content']}" for m in row["messages"]) for row in rows]


def run_open_instruct(folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Ask the checkout, in its own environment where it has one; OPEN_INSTRUCT_PYTHON names another interpreter."""
    checkout = Path(os.environ["OPEN_INSTRUCT_DIR"])
    own = checkout / ".venv" / "bin" / "python"
    python = os.environ.get("OPEN_INSTRUCT_PYTHON") or (str(own) if own.exists() else sys.executable)
    environment = os.environ | {"PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
    command = [python, "-c", OPEN_INSTRUCT, str(folder), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{python} can't import Open Instruct: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
