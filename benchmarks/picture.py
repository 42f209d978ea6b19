"""One picture of `flip eval run`'s folders: every judge beside the trivial ones, with 95% intervals.

    python benchmarks/picture.py --out judges.png "FLIP, 0.1B=runs/llmbar-flip" "FLIP, 0.1B=runs/rm_bench-flip" ...

A panel per benchmark, in the order in which they first come. A folder may stand for several judges; its labels then
name the judge too. Ties count half.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from open_instruct_flip.page.style import COLORS, GREY, INK, RC_PARAMS, RULE

TRIVIAL = {"shorter": "shorter response", "longer": "longer response", "token_f1": "F1 of the response itself"}
NAMES = {"llmbar": "LLMBar", "rm_bench": "RM-Bench chat"}
Point = tuple[str, float, float, bool]
"""Label, accuracy, half of the 95% interval, whether it is a trivial judge."""


def points_of(label: str, result: dict[str, Any], *, trivial: bool = False) -> Point:
    """A judge's point. The interval is that of the strict figure, no narrower where a quarter of the pairs is won."""
    overall = result["overall"]
    return label, overall["official"], 1.96 * overall["se"], trivial


def panels(folders: Sequence[str]) -> dict[str, list[Point]]:
    """The points of each benchmark; its trivial judges are those of its largest folder."""
    found: dict[str, list[Point]] = {}
    baselines: dict[str, tuple[int, dict[str, Any]]] = {}
    for given in folders:
        label, _, folder = given.rpartition("=")
        summary = json.loads((Path(folder) / "summary.json").read_text("utf-8"))
        for benchmark, results in summary["results"].items():
            for judge, result in results.items():
                name = f"{label}: {judge}" if len(results) > 1 else label
                found.setdefault(benchmark, []).append(points_of(name, result))
                size = result["overall"]["n"] + result["overall"]["failed"]
                if size > baselines.get(benchmark, (0, {}))[0]:
                    baselines[benchmark] = size, result["baselines"]
    for benchmark, (_, trivial) in baselines.items():
        found[benchmark] += [points_of(TRIVIAL[name], trivial[name], trivial=True) for name in TRIVIAL]
    return found


def draw(axes: Axes, title: str, points: Sequence[Point]) -> None:
    """Points from the best to the worst, judges strong and trivial ones grey."""
    ordered = sorted(points, key=lambda point: point[1])
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
    for height, (_, value, half, trivial) in enumerate(ordered):
        color = GREY if trivial else COLORS[0]
        axes.errorbar(
            value, height, xerr=half, fmt="o" if not trivial else "D", color=color, markersize=4, linewidth=1.4
        )
        axes.annotate(
            f"{value:.2f}", (value, height), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=6.5
        )
    axes.set_yticks(range(len(ordered)), [label for label, *_ in ordered])
    for tick, (*_, trivial) in zip(axes.get_yticklabels(), ordered, strict=True):
        tick.set_color(GREY if trivial else INK)
        tick.set_style("italic" if trivial else "normal")
    axes.set_xlim(0.2, 0.85)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.grid(True, axis="x", color=RULE)
    axes.grid(False, axis="y")
    axes.set_title(title, loc="left", fontsize=8.5)
    axes.set_xlabel("pairs rightly ordered, ties half; dashed: a coin")


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="LABEL=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = panels(arguments.folders)
    with matplotlib.rc_context(RC_PARAMS):
        rows = max(map(len, found.values()))
        figure = Figure(figsize=(3.9 * len(found), 0.7 + 0.27 * rows), layout="constrained")
        for axes, (benchmark, points) in zip(
            figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
        ):
            draw(axes, NAMES.get(benchmark, benchmark), points)
        figure.savefig(arguments.out, dpi=200, facecolor="white")


if __name__ == "__main__":
    main()
