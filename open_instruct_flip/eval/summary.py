"""`summary.json`: what a run has found, with all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.identity import package_versions
from open_instruct_flip.one_writer import write_at_once

SUMMARY = "summary.json"
NO_FIGURE = {"se", "low", "high", "n", "failed"}
"""What stands beside the figures of a set of items."""
MOST_SUBSETS = 8
"""With more subsets than that a table has a row for each of them."""


def write_summary(
    folder: Path,
    benchmark: str,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    differences: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write and return it: "benchmark", "results", "differences", "judges", "settings", "versions".

    Args:
        folder: Where it goes.
        benchmark: The benchmark's name, by which results and differences are found in it.
        settings: What the judgements depend on; "judges" has each judge's model, served identity, options with the
            reply contract, and its prompt's digest, by its label.
        results: Of each judge, see `results.results_of`.
        differences: Of each two judges, see `results.differences`.
    """
    summary = {
        "benchmark": benchmark,
        "results": {benchmark: dict(results)},
        "differences": {benchmark: differences},
        "judges": settings["judges"],
        "settings": {name: value for name, value in settings.items() if name != "judges"},
        "versions": package_versions(),
    }
    write_at_once(folder / SUMMARY, f"{json.dumps(summary, indent=1)}\n")
    return summary


def read_summaries(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The `summary.json` of those folders that have one; a run that was stopped has none.

    Raises:
        UsageError: A file is no summary.
    """
    return [_read(folder / SUMMARY) for folder in folders if (folder / SUMMARY).is_file()]


def headline(result: Mapping[str, Any]) -> str:
    """The figure that has the standard error: the strict accuracy, where a benchmark has one."""
    names = [name for name in result["overall"] if name not in NO_FIGURE]
    return "strict" if "strict" in names or not names else names[0]


def other_figures(result: Mapping[str, Any], figure: str) -> list[str]:
    """The figures of the whole beside the headline, in their order."""
    return [name for name in result["overall"] if name not in {figure, *NO_FIGURE}]


def subset_figure(result: Mapping[str, Any], figure: str) -> str:
    """The figure by which subsets are shown: the headline, or their first where only the whole has that."""
    names = next(iter(result["subsets"].values()))
    return figure if figure in names else next(iter(names))


def given_figures(results: Mapping[str, Any], figure: str) -> list[str]:
    """The figures of subsets, beside this one, that every judge shares and so none has made: a published win rate."""
    first = next(iter(results.values()))
    rows = [*results.values(), *first["baselines"].values()]
    names = [name for name in next(iter(first["subsets"].values())) if name not in {figure, *NO_FIGURE}]
    return [name for name in names if all(_column(row, name) == _column(first, name) for row in rows)]


def _column(result: Mapping[str, Any], name: str) -> list[Any]:
    return [own.get(name) for own in result["subsets"].values()]


def _read(file: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(file.read_text("utf-8"))
        summary["results"].items()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{file} is no summary of `flip eval`: {error!r}; run the evaluation again") from error
    return summary
