"""The page's tables, from what `summary.json` holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from open_instruct_flip.eval.summary import MOST_SUBSETS, given_figures, headline, other_figures, subset_figure

NONE = "\N{EN DASH}"
LENGTHS = {
    "right_longer": "right is longer",
    "right_shorter": "right is shorter",
    "same_length": "same length",
    "quarter_1": "shortest quarter",
    "quarter_2": "second quarter",
    "quarter_3": "third quarter",
    "quarter_4": "longest quarter",
}
"""The strata of `by_length`, by the length of the right response against the wrong ones, and their headings."""

COSTS = ("items", "failed", "unreadable", "tokens", "seconds", "cost per 1,000")


class Cell(NamedTuple):
    """A table's cell: its value, and what stands smaller behind it."""

    value: str
    small: str = ""


@dataclass(frozen=True)
class Row:
    """A judge's row, or a trivial baseline's."""

    name: str
    cells: Sequence[Cell]
    is_judge: bool = True


@dataclass(frozen=True)
class Table:
    """A table with a heading for each cell of a row, and what the rows are of as the first column's."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Row]
    of: str = "Judge"


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """A summary's tables: figures, subsets, lengths, all beside the trivial baselines; and how far judges are apart."""
    for benchmark, results in summary["results"].items():
        if not results:
            continue
        figure = headline(next(iter(results.values())))
        yield _figures(benchmark, figure, results)
        if len(next(iter(results.values()))["subsets"]) > 1:
            yield _subsets(benchmark, figure, results)
        if any(result["by_length"] for result in results.values()):
            yield _lengths(benchmark, results)
        differences = summary.get("differences", {}).get(benchmark)
        if differences:
            yield _differences(benchmark, differences)
        if any(result.get("relative_gain") for result in results.values()):
            yield _gains(benchmark, results)


def with_error(result: Mapping[str, Any] | None, figure: str) -> Cell:
    """A figure ± its standard error; a dash where there is none."""
    if not result or result.get(figure) is None:
        return Cell(NONE)
    error = result.get("se")
    return Cell(f"{result[figure]:.3f}", "" if error is None else f"± {error:.3f}")


def share(value: float | None) -> Cell:
    """A share in [0, 1] as a percentage."""
    return Cell(NONE if value is None else f"{100 * value:.1f}%")


def _figures(benchmark: str, figure: str, results: Mapping[str, Any]) -> Table:
    more = other_figures(next(iter(results.values())), figure)

    def accuracies(result: Mapping[str, Any]) -> list[Cell]:
        return [with_error(result["overall"], figure), *(_plain(result["overall"], name) for name in more)]

    rows = [Row(judge, [*accuracies(result), *_costs(result)]) for judge, result in results.items()]
    rows += [
        Row(name, [*accuracies(result), *[Cell(NONE)] * len(COSTS)], is_judge=False)
        for name, result in _baselines(results).items()
    ]
    return Table(benchmark, [figure, *more, *COSTS], rows)


def _costs(result: Mapping[str, Any]) -> list[Cell]:
    cost, overall = result["cost"], result["overall"]
    tokens = (cost["prompt_tokens_per_1000"] + cost["completion_tokens_per_1000"]) / 1000
    price = cost.get("cost_per_1000")
    return [
        Cell(f"{overall['n']:,}"),
        Cell(f"{overall['failed']:,}"),
        share(cost["unreadable"]),
        Cell(f"{tokens:,.0f}"),
        Cell(f"{cost['request_seconds_per_1000'] / 1000:.2f}"),
        Cell(NONE if price is None else f"{price:.3g}"),
    ]


def _subsets(benchmark: str, figure: str, results: Mapping[str, Any]) -> Table:
    first = next(iter(results.values()))
    shown = subset_figure(first, figure)
    title, names = f"{benchmark} by subset: {shown}", list(first["subsets"])
    if len(names) <= MOST_SUBSETS:
        return _parts(title, results, "subsets", dict(zip(names, names, strict=True)), shown)
    judges, given = {**results, **_baselines(results)}, given_figures(results, shown)
    rows = [
        Row(
            name,
            [
                *(with_error(result["subsets"].get(name), shown) for result in judges.values()),
                *(_plain(first["subsets"][name], one) for one in given),
            ],
        )
        for name in names
    ]
    return Table(title, [*judges, *given], rows, of="Subset")


def _lengths(benchmark: str, results: Mapping[str, Any]) -> Table:
    there = next(iter(results.values()))["by_length"]
    names = {name: text for name, text in LENGTHS.items() if name in there}
    return _parts(f"{benchmark} by length of the right response: strict", results, "by_length", names, "strict")


def _parts(title: str, results: Mapping[str, Any], parts: str, names: Mapping[str, str], figure: str) -> Table:
    """A figure of parts of the items, which `names` has with their headings, for judges and trivial baselines."""

    def row(name: str, result: Mapping[str, Any], is_judge: bool) -> Row:
        return Row(name, [with_error(result.get(parts, {}).get(part), figure) for part in names], is_judge)

    rows = [row(judge, result, True) for judge, result in results.items()]
    rows += [row(name, result, False) for name, result in _baselines(results).items()]
    return Table(title, list(names.values()), rows)


def _differences(benchmark: str, differences: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        Row(f"{one['judge']} over {one['other']}", [_signed(one["value"]), _interval(one["low"], one["high"])])
        for one in differences
    ]
    return Table(f"{benchmark}: judges apart", ["difference", "95% interval"], rows)


def _gains(benchmark: str, results: Mapping[str, Any]) -> Table:
    rows = [
        Row(f"{judge}: mean" if other == "mean" else f"{judge} over {other}", [_gain(gain)])
        for judge, result in results.items()
        for other, gain in result.get("relative_gain", {}).items()
    ]
    return Table(f"{benchmark}: relative gain", ["its figure by the other's, less 1"], rows)


def _baselines(results: Mapping[str, Any]) -> Mapping[str, Any]:
    baselines: Mapping[str, Any] = next(iter(results.values()))["baselines"]
    return baselines


def _plain(result: Mapping[str, Any], figure: str) -> Cell:
    value = result.get(figure)
    return Cell(NONE if value is None else f"{value:.3f}")


def _signed(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:+.3f}")


def _gain(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:+.1%}")


def _interval(low: float | None, high: float | None) -> Cell:
    return Cell(NONE if low is None or high is None else f"{low:+.3f} to {high:+.3f}")
