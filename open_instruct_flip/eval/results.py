"""From judgements to what a run has found: each judge's figures, its costs, and how far apart the judges are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from open_instruct_flip.eval.baselines import RANDOM, baseline_scores
from open_instruct_flip.eval.benchmark import Benchmark, Scores, mean_credits
from open_instruct_flip.eval.figures import Figure, difference
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.length import by_length
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES

Figures = dict[str, dict[str, Figure]]
"""Of each subset, its figures by name."""
FLIP = "flip"


def results_of(
    benchmark: Benchmark,
    items: Sequence[Item],
    scores: Mapping[str, Scores],
    rows: Mapping[str, Sequence[Output]],
    prices: tuple[float, float] | None,
    seed: int,
) -> dict[str, Any]:
    """`results` of a benchmark: of each judge what `summarised` has, "cost", "commonest", "baselines", "relative_gain".

    Args:
        benchmark: Says how scores become figures.
        items: The items, in the order of the scores.
        scores: Of each judge, by its label, the scores of each run.
        rows: Of each judge its judgements.
        prices: Of a million prompt and completion tokens.
        seed: Of the resampling.
    """
    baselines = baselines_of(benchmark, items, seed)
    results = {
        label: {
            **summarised(benchmark, items, own, seed),
            "cost": costs(rows[label], prices),
            "commonest": commonest(rows[label]),
            "baselines": baselines,
        }
        for label, own in scores.items()
    }
    for label, result in results.items():
        if label.partition("@")[0] == FLIP:
            result["relative_gain"] = relative_gain(label, results, benchmark.headline)
    return results


def summarised(benchmark: Benchmark, items: Sequence[Item], scores: Scores, seed: int) -> dict[str, Any]:
    """ "overall", "subsets" and "by_length" of a judge, trivial or not.

    Each has figures with the standard error of the headline, and the numbers of items judged and failed.
    """
    figures, overall = figures_of(benchmark, items, scores)
    subsets = {}
    for subset, own in figures.items():
        numbers = _numbers(items, subset)
        subsets[subset] = _with_errors(own, benchmark.headline, seed) | _counts(scores, numbers)
    return {
        "overall": _with_errors(overall, benchmark.headline, seed) | _counts(scores, range(len(items))),
        "subsets": subsets,
        "by_length": {
            name: _of_stratum(benchmark, items, scores, numbers, seed) for name, numbers in _strata(benchmark, items)
        },
    }


def figures_of(benchmark: Benchmark, items: Sequence[Item], scores: Scores) -> tuple[Figures, dict[str, Figure]]:
    """A judge's figures of each subset, and overall."""
    figures: Figures = {}
    for subset in dict.fromkeys(item.subset for item in items):
        numbers = _numbers(items, subset)
        figures[subset] = benchmark.figures(
            subset, [items[n] for n in numbers], [[run[n] for n in numbers] for run in scores]
        )
    return figures, benchmark.overall(figures)


def baselines_of(benchmark: Benchmark, items: Sequence[Item], seed: int) -> dict[str, Any]:
    """Of each trivial judge what `summarised` has of a judge; of "random" the figures alone, which are expectations."""
    found: dict[str, Any] = {}
    for name in benchmark.baselines:
        if name == RANDOM:
            found[name] = _by_chance(benchmark, items)
        else:
            found[name] = summarised(benchmark, items, [baseline_scores(name, items)], seed)
    return found


def differences(
    benchmark: Benchmark, items: Sequence[Item], scores: Mapping[str, Scores], seed: int
) -> list[dict[str, Any]]:
    """How far each judge is ahead of each later one by the headline figure, over the items both have judged."""
    overall = {label: figures_of(benchmark, items, own)[1][benchmark.headline] for label, own in scores.items()}
    return [
        {
            "judge": a,
            "other": b,
            "figure": benchmark.headline,
            **_finite(asdict(difference(overall[a], overall[b], seed))),
        }
        for a, b in combinations(overall, 2)
    ]


def costs(rows: Sequence[Output], prices: tuple[float, float] | None) -> dict[str, Any]:
    """What judgements took, per 1,000 of them, and the shares of them, in [0, 1], that failed."""
    errors = Counter(row["error"] for row in rows if row["error"] is not None)
    count = len(rows) or 1
    tokens = [sum(row[name] for row in rows) for name in ("prompt_tokens", "completion_tokens")]
    price = None if prices is None else sum(a * b for a, b in zip(tokens, prices, strict=True)) / 1e6
    return {
        "judgements": len(rows),
        "unreadable": sum(errors[kind] for kind in REPLY_FAILURES) / count,
        "request_failures": sum(errors[kind] for kind in REQUEST_FAILURES) / count,
        "errors": dict(errors),
        "prompt_tokens_per_1000": 1000 * tokens[0] / count,
        "completion_tokens_per_1000": 1000 * tokens[1] / count,
        "requests_per_1000": 1000 * sum(row["requests"] for row in rows) / count,
        "request_seconds_per_1000": 1000 * sum(row["latency_s"] for row in rows) / count,
        "cost_per_1000": None if price is None else 1000 * price / count,
    }


def commonest(rows: Sequence[Output]) -> dict[str, Any]:
    """The reward that most judgements gave, and the share of those with a reward, in [0, 1], that gave it."""
    rewards = Counter(row["score"] for row in rows if row["score"] is not None)
    reward, count = next(iter(rewards.most_common(1)), (None, 0))
    return {"reward": reward, "share": count / rewards.total() if rewards else None}


def relative_gain(label: str, results: Mapping[str, Any], figure: str) -> dict[str, float | None]:
    """FLIP's figure by each other judge's of its model, less 1, and the mean of these: the paper's headline figure."""
    own = results[label]["overall"].get(figure)
    model = label.partition("@")[2]
    others = [name for name in results if name != label and name.partition("@")[2] == model]
    gains = {name: _gain(own, results[name]["overall"].get(figure)) for name in others}
    known = [gain for gain in gains.values() if gain is not None]
    return gains | ({"mean": sum(known) / len(known)} if known else {})


def _gain(own: float | None, other: float | None) -> float | None:
    return own / other - 1 if own is not None and other else None


def _by_chance(benchmark: Benchmark, items: Sequence[Item]) -> dict[str, Any]:
    subsets = {
        subset: benchmark.figures_by_chance(subset, [items[n] for n in _numbers(items, subset)])
        for subset in dict.fromkeys(item.subset for item in items)
    }
    return {
        "overall": benchmark.overall_by_chance(subsets),
        "subsets": subsets,
        "by_length": {
            name: benchmark.mean_credits_by_chance([items[n] for n in numbers])
            for name, numbers in _strata(benchmark, items)
        },
    }


def _strata(benchmark: Benchmark, items: Sequence[Item]) -> Iterable[tuple[str, list[int]]]:
    """The length strata of all subsets together, with the numbers of their items."""
    return by_length(items).items() if benchmark.has_right else ()


def _of_stratum(
    benchmark: Benchmark, items: Sequence[Item], scores: Scores, numbers: Sequence[int], seed: int
) -> dict[str, Any]:
    """Mean credits of some items, which don't go by subset."""
    runs = [benchmark.credits_of([run[n] for n in numbers], [items[n] for n in numbers]) for run in scores]
    return _with_errors(mean_credits(runs, benchmark.rules(items)), "strict", seed) | _counts(scores, numbers)


def _with_errors(figures: Mapping[str, Figure], headline: str, seed: int) -> dict[str, Any]:
    values: dict[str, Any] = {name: figure.value() for name, figure in figures.items()}
    figure = figures.get(headline) or next(iter(figures.values()), None)
    if figure is not None:
        low, high = figure.interval(seed)
        values |= {"se": figure.error(seed), "low": low, "high": high}
    return _finite(values)


def _counts(scores: Scores, numbers: Iterable[int]) -> dict[str, int]:
    """Items judged and failed, each once per run."""
    outcomes = [run[number] is not None for number in numbers for run in scores]
    return {"n": sum(outcomes), "failed": len(outcomes) - sum(outcomes)}


def _numbers(items: Sequence[Item], subset: str) -> list[int]:
    return [number for number, item in enumerate(items) if item.subset == subset]


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with None for what JSON can't say: nothing was judged."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
