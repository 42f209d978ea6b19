"""Trivial judges, which ask no model: no accuracy means anything without theirs beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from open_instruct_flip.eval.items import Item
from open_instruct_flip.similarity.f1 import f1_score

RANDOM = "random"
"""The judge that draws its scores; its figures are expectations, see `Benchmark.figures_by_chance`."""

SCORES: dict[str, Callable[[str, Item], float]] = {
    "shorter": lambda response, _: -float(len(response)),
    "longer": lambda response, _: float(len(response)),
    "token_f1": lambda response, item: f1_score(response, item.instruction).f1,
}
"""Name -> the score of a response; lengths are in characters, F1 is the response's own with the instruction."""


def baseline_scores(name: str, items: Sequence[Item]) -> list[list[float]]:
    """A trivial judge's scores of each item's responses."""
    score = SCORES[name]
    return [[score(response, item) for response in item.responses] for item in items]
