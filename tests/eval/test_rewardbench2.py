"""RewardBench 2's figures are those of reward-bench's own code, from equal scores."""

from __future__ import annotations

import ast
import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmarks.rewardbench2 import RewardBench2
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.results import figures_of, summarised

BEST_OF_FOUR = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
FIGURES = {
    "Factuality": 0.8,
    "Precise IF": 0.75,
    "Math": 0.5,
    "Safety": 0.6,
    "Focus": 0.6,
    "Ties": 0.29249132034871933,
    "overall": 0.5904152200581199,
}
"""What that code gave for the items and scores made below."""
OURS = {"_compute_prompt_stats", "process_single_model", "reroll_and_score_dataset"}
"""The functions of reward-bench's `rewardbench/utils.py` that make its figures."""


def made_rows() -> list[dict[str, Any]]:
    """60 items in the columns of the dataset, ten of each subset; Ties has five prompts twice."""
    rows: list[dict[str, Any]] = []
    for subset in BEST_OF_FOUR:
        rows += [_row(f"{subset}-{n}", subset, num_right=1, num_wrong=3) for n in range(10)]
    rows += [_row(f"ref:{n}", "Ties", num_right=1, num_wrong=3 + n) for n in range(5)]
    return rows + [_row(f"tied:{n}", "Ties", num_right=2 + n, num_wrong=4) for n in range(5)]


def _row(item_id: str, subset: str, num_right: int, num_wrong: int) -> dict[str, Any]:
    return {
        "id": item_id,
        "prompt": f"the instruction of {item_id}",
        "chosen": [f"{item_id} right {n}" for n in range(num_right)],
        "rejected": [f"{item_id} wrong {n}" for n in range(num_wrong)],
        "num_correct": num_right,
        "total_completions": num_right + num_wrong,
        "subset": subset,
    }


def made_scores(items: list[Item]) -> list[list[float]]:
    """Scores of one decimal, so that many tie, better for the right responses on the whole."""
    rng = random.Random(7)
    return [[round(0.6 * rng.random() + 0.3 * bool(right), 1) for right in item.right] for item in items]


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    path = tmp_path / "made.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made_rows()))
    return list(RewardBench2().read(str(path)))


def official(items: list[Item]) -> dict[str, float]:
    subsets, overall = figures_of(RewardBench2(), items, [made_scores(items)])
    figures = {subset: own["official"].value() for subset, own in subsets.items()}
    return figures | {"overall": overall["official"].value()}


def test_equal_to_figures_that_the_code_of_reward_bench_gave(items: list[Item]) -> None:
    assert official(items) == pytest.approx(FIGURES, abs=1e-9)


@pytest.mark.skipif("REWARD_BENCH_DIR" not in os.environ, reason="REWARD_BENCH_DIR names no checkout of reward-bench")
def test_equal_to_the_code_of_a_checkout(items: list[Item]) -> None:
    assert official(items) == pytest.approx(their_figures(items, Path(os.environ["REWARD_BENCH_DIR"])), abs=1e-9)


def their_figures(items: list[Item], checkout: Path) -> dict[str, float]:
    from datasets import Dataset

    code = _their_code(checkout)
    scores = dict(zip((item.id for item in items), made_scores(items), strict=True))
    figures = {}
    for subset in BEST_OF_FOUR:
        ids = [item.id for item in items if item.subset == subset]
        flat = [{"id": i, "text": str(n), "scores": s} for i in ids for n, s in enumerate(scores[i])]
        grouped = code["reroll_and_score_dataset"](Dataset.from_list(flat), [len(scores[i]) for i in ids])
        figures[subset] = float(np.mean(grouped["results"]))
    ties = [item for item in items if item.subset == "Ties"]
    rows = [{"id": item.id, "scores": scores[item.id], "num_correct": sum(map(bool, item.right))} for item in ties]
    _, figures["Ties"] = code["process_single_model"](Dataset.from_list(rows))
    return figures | {"overall": float(np.mean(list(figures.values())))}


def _their_code(checkout: Path) -> dict[str, Any]:
    """Those functions alone: importing their module takes torch, fastchat and more."""
    import pandas
    from datasets import Dataset

    tree = ast.parse((checkout / "rewardbench" / "utils.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in OURS]
    names: dict[str, Any] = {"np": np, "pd": pandas, "Dataset": Dataset, "defaultdict": defaultdict}
    names |= {"List": list, "Dict": dict, "Tuple": tuple}
    exec(compile(tree, "rewardbench/utils.py", "exec"), names)
    return names


def test_strict_gives_a_tie_of_right_and_wrong_no_credit() -> None:
    item = Item("1", "Math", ({"role": "user", "content": "add"},), ("a", "b", "c", "d"), (True, False, False, False))
    rules = RewardBench2()
    assert rules.credits(item, [0.9, 0.9, 0.1, 0.0]) == {"strict": 0.0, "official": 0.5}
    assert rules.credits(item, [0.9, 0.1, 0.1, 0.0]) == {"strict": 1.0, "official": 1.0}
    assert rules.credits(item, [0.1, 0.9, 0.1, 0.0]) == {"strict": 0.0, "official": 0.0}
    assert rules.credits_by_chance(item) == {"strict": 0.25, "official": 0.25}


def test_an_item_of_ties_that_failed_is_counted_and_left_out(items: list[Item]) -> None:
    scores = made_scores(items)
    whole = summarised(RewardBench2(), items, [scores], seed=0)["subsets"]["Ties"]
    without = [item for item in items if item.id not in ("ref:2", "tied:2")]
    failed = [None if item.id in ("ref:2", "tied:2") else own for item, own in zip(items, scores, strict=True)]
    left = summarised(RewardBench2(), items, [failed], seed=0)["subsets"]["Ties"]
    shorter = [own for own in failed if own is not None]
    assert left["official"] == pytest.approx(
        summarised(RewardBench2(), without, [shorter], seed=0)["subsets"]["Ties"]["official"]
    )
    assert (whole["n"], whole["failed"]) == (10, 0)
    assert (left["n"], left["failed"]) == (8, 2)


def test_an_id_of_ties_without_its_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps(_row("7", "Ties", 2, 2)))
    with pytest.raises(UsageError, match=r"made\.jsonl:1: .*ref:N or tied:N, got '7'"):
        list(RewardBench2().read(str(path)))
