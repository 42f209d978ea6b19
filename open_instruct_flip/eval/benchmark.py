"""What a benchmark is: how its items are read, and how the scores of their responses become its figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from open_instruct_flip.eval.figures import Figure, Measure
from open_instruct_flip.eval.items import Item

ItemScores = Sequence[float] | None
"""The scores of an item's responses, in order; None where a judgement failed."""
Scores = Sequence[Sequence[ItemScores]]
"""Of each run, the scores of each item."""


class Benchmark(ABC):
    """A benchmark of judges. Its figures are shares in [0, 1] unless it says otherwise.

    Attributes:
        name: What the command calls it.
        default_data: Hub dataset that is read where no data is named, or None.
        headline: The figure by which judges are compared.
        has_splits: Whether its data may be a dataset with splits.
        has_right: Whether the items say which responses are right.
        baselines: The trivial judges that stand beside the judges, see `baselines`.
    """

    name: ClassVar[str]
    default_data: ClassVar[str | None] = None
    headline: ClassVar[str] = "strict"
    has_splits: ClassVar[bool] = False
    has_right: ClassVar[bool] = True
    baselines: ClassVar[tuple[str, ...]] = ("random", "shorter", "longer", "token_f1")

    @abstractmethod
    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        """The items, in the order of the benchmark.

        Args:
            data: File, folder or hub name.
            split: Split of a folder or hub dataset.

        Raises:
            UsageError: The data is not there, or not of this benchmark's form: file, row and reason.
        """

    def credits(self, item: Item, scores: Sequence[float]) -> dict[str, float]:
        """What the scores of an item's responses earn, by each rule: here the right ones' place among the highest.

        `strict`: 1 where every response with the highest score is right; a tie of right and wrong counts as wrong.
        `official`: the share of the right ones among those with the highest score, as reward-bench has it.
        """
        highest = max(scores)
        best = [right for right, score in zip(item.right, scores, strict=True) if score == highest]
        return {"strict": float(all(best)), "official": sum(map(bool, best)) / len(best)}

    def credits_by_chance(self, item: Item) -> dict[str, float]:
        """What random scores without ties earn on average."""
        share = sum(map(bool, item.right)) / len(item.right)
        return {"strict": share, "official": share}

    def figures(self, subset: str, items: Sequence[Item], scores: Scores) -> dict[str, Figure]:
        """A subset's figures by name: the means of its items' credits."""
        return mean_credits([self.credits_of(run, items) for run in scores], self.rules(items))

    def figures_by_chance(self, subset: str, items: Sequence[Item]) -> dict[str, float]:
        """A subset's figures for a judge that draws its scores at random."""
        return self.mean_credits_by_chance(items)

    def mean_credits_by_chance(self, items: Sequence[Item]) -> dict[str, float]:
        """The means over items of what random scores earn."""
        credits = [self.credits_by_chance(item) for item in items]
        return {name: float(np.mean([credit[name] for credit in credits])) for name in self.rules(items)}

    def overall(self, subsets: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
        """The benchmark's figures from its subsets': here their unweighted means, of the figures that all have."""
        return {name: Figure.mean([own[name] for own in subsets.values()]) for name in shared_names(subsets)}

    def overall_by_chance(self, subsets: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """As `overall`, of figures by chance."""
        return {name: float(np.mean([own[name] for own in subsets.values()])) for name in shared_names(subsets)}

    def rules(self, items: Sequence[Item]) -> list[str]:
        """The names of an item's credits."""
        return list(self.credits_by_chance(items[0])) if items else []

    def credits_of(self, run: Sequence[ItemScores], items: Sequence[Item]) -> list[dict[str, float] | None]:
        """The credits of each item in one run; None where a judgement failed."""
        return [None if one is None else self.credits(item, one) for item, one in zip(items, run, strict=True)]


def mean_credits(runs: Sequence[Sequence[Mapping[str, float] | None]], names: Sequence[str]) -> dict[str, Figure]:
    """The mean of each credit over items; an item without any counts neither way."""

    def measure(name: str) -> Measure:
        values = [[np.nan if credit is None else credit[name] for credit in run] for run in runs]
        return Measure(np.array(values, dtype=float)[..., None])

    return {name: Figure((measure(name),)) for name in names}


def shared_names(subsets: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The names that all subsets have, in the order of the first."""
    first, *others = subsets.values() or [{}]
    return [name for name in first if all(name in other for other in others)]
