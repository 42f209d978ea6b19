"""Each benchmark's files become items, and scores its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmarks.alpaca_eval import LEADERBOARD, AlpacaEval
from open_instruct_flip.eval.benchmarks.judgebench import JudgeBench
from open_instruct_flip.eval.benchmarks.llmbar import FOLDERS, LLMBar
from open_instruct_flip.eval.benchmarks.pairs import Pairs
from open_instruct_flip.eval.benchmarks.rm_bench import RMBench
from open_instruct_flip.eval.results import figures_of


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_llmbar_takes_the_label_for_the_right_response(tmp_path: Path) -> None:
    row = {"input": "add", "output_1": "no", "output_2": "yes", "label": 2}
    for folder in FOLDERS.values():
        write(tmp_path / "Dataset" / "LLMBar" / folder / "dataset.json", [row])
    items = list(LLMBar().read(str(tmp_path)))
    assert [item.id for item in items] == [f"{subset}/0" for subset in FOLDERS]
    assert items[0].right == (False, True)
    write(tmp_path / "Dataset" / "LLMBar" / "Natural" / "dataset.json", [row | {"label": 3}])
    with pytest.raises(UsageError, match=r"dataset\.json:1: label is 1 or 2, got 3"):
        list(LLMBar().read(str(tmp_path)))
    with pytest.raises(UsageError, match="a copy of the LLMBar repository"):
        list(LLMBar().read(str(tmp_path / "elsewhere")))


def test_rm_bench_sets_each_right_response_against_each_wrong_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"id": 8, "prompt": "add", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"]}
    write(tmp_path / "data" / "chat_filtered.json", [row])
    write(tmp_path / "data" / "safety-refuse_filtered.json", [row, row])
    items = list(RMBench().read(str(tmp_path)))
    assert [(item.subset, item.id) for item in items] == [
        ("chat", "chat/0"),
        ("safety", "safety-refuse/0"),
        ("safety", "safety-refuse/1"),
    ]
    assert "lacks math_filtered.json, code_filtered.json, safety-response_filtered.json" in caplog.text
    # Right 1, 2, 3 against wrong 1, 2, 2: won are 2>1, 3>1, 3>2 (easy) and 3>2 (normal); nothing hard, draws are lost.
    credit = RMBench().credits(items[0], [1, 2, 3, 1, 2, 2])
    assert credit == {"strict": 4 / 9, "official": 4 / 9, "easy": 1.0, "normal": 1 / 3, "hard": 0.0}


def test_judgebench_means_are_over_pairs(tmp_path: Path) -> None:
    pairs = [
        {
            "pair_id": "1",
            "source": "mmlu-pro-law",
            "question": "q",
            "response_A": "a",
            "response_B": "b",
            "label": "A>B",
        },
        {
            "pair_id": "2",
            "source": "mmlu-pro-law",
            "question": "q",
            "response_A": "a",
            "response_B": "b",
            "label": "B>A",
        },
        {
            "pair_id": "3",
            "source": "livecodebench",
            "question": "q",
            "response_A": "a",
            "response_B": "b",
            "label": "B>A",
        },
    ]
    write(tmp_path / "data" / "some.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs))
    items = list(JudgeBench().read(str(tmp_path)))
    subsets, overall = figures_of(JudgeBench(), items, [[[0.0, 1.0]] * 3])
    assert {name: own["strict"].value() for name, own in subsets.items()} == {"knowledge": 0.5, "coding": 1.0}
    assert overall["strict"].value() == pytest.approx(2 / 3)


def test_alpaca_eval_orders_models_and_leaves_the_attack_out(tmp_path: Path) -> None:
    rates = {"NullModel": 86.5, "best": 50.0, "middle": 30.0, "worst": 10.0}
    lines = [",win_rate,length_controlled_winrate", *(f"{model},1,{rate}" for model, rate in rates.items())]
    write(tmp_path / LEADERBOARD, "\n".join(lines))
    for model in rates:
        rows = [{"instruction": f"q{n}", "output": f"{model} {n}"} for n in range(4)]
        write(tmp_path / "results" / model / "model_outputs.json", rows)
    benchmark = AlpacaEval()
    items = list(benchmark.read(str(tmp_path)))
    reward = {"NullModel": 0.0, "best": 0.9, "middle": 0.5, "worst": 0.6}
    subsets, overall = figures_of(benchmark, items, [[[reward[item.subset]] for item in items]])
    assert subsets["NullModel"]["mean"].value() == 0.0
    assert subsets["best"]["length_controlled_winrate"].value() == 50.0
    assert overall["spearman"].value() == pytest.approx(0.5)  # ranks 3, 1, 2 against 3, 2, 1


def test_spearman_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    from open_instruct_flip.eval.benchmarks.alpaca_eval import spearman

    pairs = np.random.default_rng(0).integers(6, size=(4, 20, 2)).astype(float)  # many ties
    assert spearman(pairs) == pytest.approx([stats.spearmanr(one[:, 0], one[:, 1])[0] for one in pairs])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [{"role": "user", "content": "q"}], "chosen": ["a"], "rejected": ["b"]},
        {
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        },
        {
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
    ],
)
def test_pairs_come_in_the_shapes_of_preference_datasets(row: dict[str, Any], tmp_path: Path) -> None:
    (item,) = Pairs().read(str(write(tmp_path / "mine.jsonl", json.dumps(row))))
    assert item.conversation == ({"role": "user", "content": "q"},)
    assert (item.subset, item.responses, item.right) == ("mine", ("a", "b"), (True, False))
