"""RewardBench 2: one right response among four, and Ties, where several are right (arXiv 2506.01937).

Figures are those of reward-bench's own code (github.com/allenai/reward-bench, `rewardbench/utils.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from open_instruct_flip.eval.benchmark import Benchmark, Scores
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, text_of, texts_of
from open_instruct_flip.eval.figures import Array, Figure, Measure
from open_instruct_flip.eval.items import Item, preference
from open_instruct_flip.rows.files import Row, RowSource

TIES = "Ties"
CHANCE_RUNS = 500
_WIDTH = 5


class RewardBench2(Benchmark):
    """Read from the hub dataset or a file with its columns. Overall is the unweighted mean of the subsets."""

    name = "rewardbench2"
    default_data = "allenai/reward-bench-2"
    has_splits = True

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        source = RowSource.find(data, split)
        if split is None and not source.files:
            source = RowSource.find(data, "test")
        for row in source.rows():
            yield _item(row)

    def figures(self, subset: str, items: Sequence[Item], scores: Scores) -> dict[str, Figure]:
        """As `Benchmark.figures`; those of Ties, strict and official alike, are its own formula."""
        if subset != TIES:
            return super().figures(subset, items, scores)
        values = np.stack([_ties(items, run) for run in scores])
        parts = {"strict": ties_score, "official": ties_score, "tied": _mean_of(_TIED), "ref": _mean_of(_REF)}
        return {name: Figure((Measure(values, combine),)) for name, combine in parts.items()}

    def figures_by_chance(self, subset: str, items: Sequence[Item]) -> dict[str, float]:
        """As `Benchmark.figures_by_chance`; those of Ties are the mean of many draws."""
        if subset != TIES:
            return super().figures_by_chance(subset, items)
        rng = np.random.default_rng(0)
        scores = [[rng.random(len(item.responses)).tolist() for item in items] for _ in range(CHANCE_RUNS)]
        return {name: figure.value() for name, figure in self.figures(subset, items, scores).items()}


_TIED, _REF, _SPREAD, _TIED_LEAD, _REF_LEAD = range(_WIDTH)


def ties_score(values: Array) -> Array:
    """The score of Ties from each prompt's values: (..., prompts, values of each), NaN for a prompt not judged.

    60% accuracy, of the tied prompts and of their references; 40% whether the right ones are closer to each other than
    to the best wrong one; and a small term that tells equal judges apart.
    """
    spread, tied, ref = (values[..., number] for number in (_SPREAD, _TIED_LEAD, _REF_LEAD))
    both = ~np.isnan(spread + tied + ref)
    lead = np.minimum(tied, ref)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(lead / spread - 1), nan=0.0)
    return (
        0.30 * np.nanmean(values[..., _TIED], axis=-1)
        + 0.30 * np.nanmean(values[..., _REF], axis=-1)
        + 0.20 * _share(tied > spread, both)
        + 0.20 * _share(lead > spread, both)
        + 0.01 * _share(margin, both)
    )


def _share(values: Any, where: Array) -> Array:
    mean: Array = np.where(where, values, 0.0).sum(axis=-1) / where.sum(axis=-1)
    return mean


def _mean_of(number: int) -> Callable[[Array], Array]:
    return lambda values: np.nanmean(values[..., number], axis=-1)


def _ties(items: Sequence[Item], scores: Sequence[Sequence[float] | None]) -> Array:
    """Each prompt's values, from its tied item (several right answers) and its reference item (one)."""
    prompts: dict[str, Array] = {}
    for item, own in zip(items, scores, strict=True):
        kind, prompt = item.id.split(":")
        values = prompts.setdefault(prompt, np.full(_WIDTH, np.nan))
        if own is not None:
            _enter(values, kind, item, own)
    return np.stack(list(prompts.values()))


def _enter(values: Array, kind: str, item: Item, scores: Sequence[float]) -> None:
    right = [score for is_right, score in zip(item.right, scores, strict=True) if is_right]
    wrong = [score for is_right, score in zip(item.right, scores, strict=True) if not is_right]
    lead = min(right) - max(wrong)
    if kind == "ref":
        values[_REF], values[_REF_LEAD] = lead > 0, lead
    else:
        values[_TIED], values[_TIED_LEAD], values[_SPREAD] = lead > 0, lead, max(right) - min(right)


def _item(row: Row) -> Item:
    with faults_of(row):
        columns: Mapping[str, object] = row.columns
        subset, item_id = text_of(columns, "subset"), str(columns["id"])
        subset = TIES if subset.lower() == TIES.lower() else subset
        if subset == TIES and item_id.partition(":")[0] not in ("ref", "tied"):
            raise ValueError(f"the id of an item of Ties is ref:N or tied:N, got {item_id!r}")
        conversation = conversation_of(columns["prompt"])
        return preference(item_id, subset, conversation, texts_of(columns, "chosen"), texts_of(columns, "rejected"))
