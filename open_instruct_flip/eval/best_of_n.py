"""Best-of-N: how good the response is that a judge picks out of N, by scores that the judge does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmarks.reading import faults_of
from open_instruct_flip.eval.estimate import Estimate, estimate
from open_instruct_flip.eval.items import Item
from open_instruct_flip.rows.files import Row, RowSource
from open_instruct_flip.rows.shapes import BadRowError, read_group

RESULT = "best_of_n.json"
SUBSET = "all"
RANDOM, FIRST, ORACLE = "random", "first", "oracle"


@dataclass(frozen=True)
class Curve:
    """The mean gold score, over prompts, of what a judge picks out of N, for each N.

    Attributes:
        name: The judge's label, or "random", "first" or "oracle" (picks by the gold scores themselves).
        is_judge: Whether it is a judge.
        points: Of each N an estimate, None where no prompt could be judged.
        failed: Share of prompts with a failed judgement, which are left out.
    """

    name: str
    is_judge: bool
    points: dict[int, Estimate | None]
    failed: float = 0.0


def read_prompts(data: str, gold: str, split: str | None = None) -> list[tuple[Item, list[float]]]:
    """The prompts with their responses, and the gold scores of these.

    Args:
        data: File, folder or hub name; rows of any known shape with `responses`, and a column of as many numbers.
        gold: That column.
        split: Split of a folder or hub dataset.

    Raises:
        UsageError: A row lacks a prompt, at least two responses, or a finite gold score for each.
    """
    found = []
    for number, row in enumerate(RowSource.find(data, split).rows(), start=1):
        with faults_of(row):
            found.append(_read(row, number, gold))
    return found


def curves(
    gold: Sequence[Sequence[float]], judges: Mapping[str, Sequence[Sequence[float] | None]], seed: int
) -> list[Curve]:
    """The curves of judges, then of random, first and oracle.

    Args:
        gold: Of each prompt the gold scores of its responses.
        judges: Of each judge, by its label, its scores of the same; None where a judgement failed.
        seed: Of the resampling.
    """
    sizes = list(_sizes(min(map(len, gold))))
    found = [_judged(name, gold, scores, sizes, seed) for name, scores in judges.items()]
    first = Curve(FIRST, False, {n: estimate([own[0] for own in gold], seed) for n in sizes})
    random = Curve(RANDOM, False, {n: estimate([fmean(own) for own in gold], seed) for n in sizes})
    return [*found, random, first, _judged(ORACLE, gold, gold, sizes, seed, is_judge=False)]


def expected_pick(scores: Sequence[float], gold: Sequence[float], n: int) -> float:
    """The expected gold score of the highest scored of `n` responses drawn without replacement; ties pick evenly.

    Exact, over all draws: the best of a draw lies among the `k` lowest with probability C(k, n) / C(all, n).

    Example:
        >>> [round(expected_pick([0.1, 0.2, 0.3], [0.0, 0.0, 1.0], n), 3) for n in (1, 2, 3)]
        [0.333, 0.667, 1.0]
    """
    ranked = sorted(zip(scores, gold, strict=True))
    total, below, expected = comb(len(ranked), n), 0, 0.0
    for _, level in groupby(ranked, key=lambda pair: pair[0]):
        golds = [value for _, value in level]
        chance = (comb(below + len(golds), n) - comb(below, n)) / total
        expected += chance * fmean(golds)
        below += len(golds)
    return expected


def write_curves(folder: Path, found: Sequence[Curve]) -> Path:
    """Write the curves as JSON, and return the file."""
    file = folder / RESULT
    file.write_text(f"{json.dumps([asdict(curve) for curve in found], indent=1)}\n", "utf-8")
    return file


def read_curves(folder: Path) -> list[Curve]:
    """The curves that a folder holds, none where there are none.

    Raises:
        UsageError: The file is none of `flip eval best-of-n`.
    """
    file = folder / RESULT
    if not file.is_file():
        return []
    try:
        return [_curve(one) for one in json.loads(file.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is none of `flip eval best-of-n`: {error!r}; run it again") from error


def _judged(
    name: str,
    gold: Sequence[Sequence[float]],
    scores: Sequence[Sequence[float] | None],
    sizes: Sequence[int],
    seed: int,
    is_judge: bool = True,
) -> Curve:
    pairs = [(own, true) for own, true in zip(scores, gold, strict=True) if own is not None]
    points = {n: estimate([expected_pick(own, true, n) for own, true in pairs], seed) for n in sizes}
    return Curve(name, is_judge, points, 1 - len(pairs) / len(gold))


def _sizes(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the largest N that every prompt has."""
    n = 1
    while n < most:
        yield n
        n *= 2
    yield most


def _read(row: Row, number: int, gold: str) -> tuple[Item, list[float]]:
    conversation, responses = read_group(row.columns)
    scores = row.columns.get(gold)
    if len(responses) < 2:
        raise BadRowError(f"Best-of-N needs at least two responses, this row has {len(responses)}")
    if not isinstance(scores, list) or len(scores) != len(responses) or not all(map(_is_score, scores)):
        raise BadRowError(
            f"the column {gold!r} is to hold {len(responses)} numbers, one per response; name it by --gold"
        )
    item = Item(str(number), SUBSET, tuple(conversation), tuple(responses), (None,) * len(responses))
    return item, [float(score) for score in scores]


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < float("inf")


def _curve(values: Mapping[str, Any]) -> Curve:
    points = {int(n): Estimate(**point) if point else None for n, point in values["points"].items()}
    return Curve(**{**values, "points": points})
