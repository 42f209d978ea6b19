"""What the commands print: before they judge what it would take, and what they have found at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from open_instruct_flip.eval.attacks.effects import Effect
from open_instruct_flip.eval.attacks.table import by_attack
from open_instruct_flip.eval.best_of_n import Curve
from open_instruct_flip.eval.summary import MOST_SUBSETS, given_figures, other_figures, subset_figure
from open_instruct_flip.rewards import Usage


def tables(benchmark: str, headline: str, summary: Mapping[str, Any]) -> Iterator[Table]:
    """The figures of judges and trivial judges, what judging took, and how far apart the judges are."""
    results: Mapping[str, Any] = summary["results"][benchmark]
    yield _figures(benchmark, headline, results)
    if any(result["by_length"] for result in results.values()):
        yield _by_length(results)
    yield _costs(results)
    if summary["differences"][benchmark]:
        yield _differences(summary["differences"][benchmark])
    if any(result.get("relative_gain") for result in results.values()):
        yield _gains(results)


def _figures(benchmark: str, headline: str, results: Mapping[str, Any]) -> Table:
    first = next(iter(results.values()))
    kind, more, names = subset_figure(first, headline), other_figures(first, headline), list(first["subsets"])
    if len(names) > MOST_SUBSETS:
        return _turned(benchmark, headline, kind, results)
    table = _table(f"{benchmark}: {headline}, standard error", "judge", *names, "overall", *more, "n", "failed")
    for label, result in _with_baselines(results).items():
        overall = result["overall"]
        table.add_row(
            label,
            *(_shown(result["subsets"][name], kind) for name in names),
            _shown(overall, headline),
            *(_number(overall.get(name)) for name in more),
            *(_count(overall.get(name)) for name in ("n", "failed")),
        )
    return table


def _with_baselines(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results of judges, then those of trivial judges, whose names stand in brackets."""
    baselines: Mapping[str, Any] = next(iter(results.values()))["baselines"]
    return {**results, **{f"({name})": baseline for name, baseline in baselines.items()}}


def _turned(benchmark: str, headline: str, kind: str, results: Mapping[str, Any]) -> Table:
    rows, given = _with_baselines(results), given_figures(results, kind)
    title = f"{benchmark}: {kind} of each subset, {headline} overall, standard error"
    table = _table(title, "subset", *rows, *given)
    for name, own in next(iter(results.values()))["subsets"].items():
        figures = (_shown(result["subsets"][name], kind) for result in rows.values())
        table.add_row(name, *figures, *(_number(own[one]) for one in given))
    table.add_section()
    table.add_row("overall", *(_shown(result["overall"], headline) for result in rows.values()))
    for name in ("n", "failed"):
        table.add_row(name, *(_count(result["overall"].get(name)) for result in rows.values()))
    return table


def _by_length(results: Mapping[str, Any]) -> Table:
    names = list(next(iter(results.values()))["by_length"])
    table = _table("strict by length of the right response against the wrong ones", "judge", *names)
    for label, result in _with_baselines(results).items():
        table.add_row(label, *(_shown(result["by_length"][name], "strict") for name in names))
    return table


def _costs(results: Mapping[str, Any]) -> Table:
    columns = ["requests", "prompt tokens", "completion tokens", "request seconds"]
    table = _table("per 1,000 judgements", "judge", "judgements", "unreadable", "not answered", *columns, "cost")
    for label, result in results.items():
        cost = result["cost"]
        table.add_row(
            label,
            _count(cost["judgements"]),
            f"{cost['unreadable']:.1%}",
            f"{cost['request_failures']:.1%}",
            *(f"{cost[name.replace(' ', '_') + '_per_1000']:,.0f}" for name in columns),
            "-" if cost["cost_per_1000"] is None else f"{cost['cost_per_1000']:,.4f}",
        )
    return table


def _differences(differences: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(
        "differences over the items that both judged, 95% interval", "judge", "other", "ahead by", "interval"
    )
    for one in differences:
        interval = f"{_number(one['low'])} to {_number(one['high'])}"
        table.add_row(one["judge"], one["other"], _number(one["value"]), interval)
    return table


def _gains(results: Mapping[str, Any]) -> Table:
    table = _table("relative gain: its figure by the other's, less 1", "judge", "over", "gain")
    for label, result in results.items():
        for other, gain in result.get("relative_gain", {}).items():
            table.add_row(label, other, "-" if gain is None else f"{gain:+.1%}")
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(first, *columns, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    return table


def _shown(figures: Mapping[str, Any], name: str) -> str:
    value, error = figures.get(name), figures.get("se")
    return _number(value) if value is None or error is None else f"{value:.3f} ±{error:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def effect_table(found: Sequence[Effect]) -> Table:
    """What attacks have done to each judge."""
    headings, rows = by_attack(found)
    table = _table("change of an attacked response's reward, standard error over items", "attack", *headings)
    for attack, cells in rows:
        table.add_row(attack, *(" ".join(cell).strip() for cell in cells))
    return table


def curve_table(found: Sequence[Curve]) -> Table:
    """How good the picks are, for each N."""
    sizes = [f"N = {n}" for n in found[0].points]
    table = _table("gold score of the pick, standard error over prompts", "judge", *sizes, "failed")
    for curve in found:
        points = ("-" if one is None else f"{one.mean:.3f} ±{one.error:.3f}" for one in curve.points.values())
        table.add_row(curve.name if curve.is_judge else f"({curve.name})", *points, f"{curve.failed:.1%}")
    return table


def costs_ahead(counts: Mapping[str, Usage], prices: tuple[float, float] | None) -> Table:
    """What a dry run has counted for each judge."""
    table = _table(
        "a dry run: nothing was sent",
        "judge",
        "requests",
        "prompt tokens, about",
        "reply tokens, at most",
        "cost, about",
    )
    for label, usage in counts.items():
        tokens = (_count(usage.requests), _count(usage.prompt_tokens), _count(usage.completion_tokens))
        table.add_row(label, *tokens, "-" if prices is None else f"{usage.cost(prices):,.4f}")
    return table
