"""The curves of several runs as figures: raw values light, their smoothed curve strong, one colour per run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from open_instruct_flip.compare.metrics import METRICS, Metric, known_metrics
from open_instruct_flip.compare.run import Axis, Run, run_labels
from open_instruct_flip.compare.summary import smooth
from open_instruct_flip.errors import MissingDependencyError, install_line
from open_instruct_flip.page.style import GREY, INK, RC_PARAMS, line_style
from open_instruct_flip.page.svg import svg_document

try:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError:
    raise MissingDependencyError(f"figures need matplotlib: {install_line('compare')}") from None

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
LARGE_PANEL_INCHES = (3.7, 2.7)
SMALL_PANEL_INCHES = (2.75, 1.95)
LEGEND_ROW_INCHES = 0.22
LABEL_GAP_POINTS = 9.0
MAX_END_LABELS = 6
MAX_MARKS = 20
ROUND_STEPS = [1, 2, 5, 10]
BY_NAME = {metric.name: metric for metric in METRICS}
# What stands beside the reward, which alone says little about the policy: best what no judge is asked for.
BESIDE_REWARD = ("true_rate", "heldout_true_rate", "overlap", "copy_rate", "f1", "completion_length", "kl", "entropy")


@dataclass(frozen=True)
class Curve:
    """One run in one metric: horizontal values, raw values and smoothed values, of one length, NaN where not finite."""

    x: list[float]
    raw: list[float]
    smoothed: list[float]

    def finite(self) -> list[float]:
        """The smoothed values that are finite."""
        return [value for value in self.smoothed if math.isfinite(value)]


@dataclass(frozen=True)
class Panel:
    """One metric's axes, and its curves in the order of the runs (empty ones for runs that do not know it)."""

    metric: Metric
    axes: Axes
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Drawing:
    """A finished figure with its panels; `x_label` names the horizontal axis and its unit."""

    figure: Figure
    panels: tuple[Panel, ...]
    x_label: str

    def save_png(self, file: Path) -> None:
        """Write the figure at print resolution."""
        with matplotlib.rc_context(RC_PARAMS):
            self.figure.savefig(file, format="png", facecolor="white")

    def svg(self) -> str:
        """The figure as an SVG document."""
        return svg_document(self.figure, self.x_label + str(len(self.panels)))


def headline_metrics(runs: Sequence[Run]) -> list[Metric]:
    """Reward, and beside it the first of `BESIDE_REWARD` that all runs know, or else that one does."""
    known = [metric.name for metric in known_metrics(runs)]
    beside = [name for name in BESIDE_REWARD if name in known]
    beside.sort(key=lambda name: not all(name in run.metrics() for run in runs))
    names = (["reward"] if "reward" in known else []) + beside
    return [BY_NAME[name] for name in (names or known)[:2]]


def scales_differ(runs: Sequence[Run]) -> bool:
    """Whether the runs' rewards may come from different judges; judges that are not known may differ."""
    return len(runs) > 1 and (len({run.judge for run in runs}) > 1 or runs[0].judge is None)


def draw(
    runs: Sequence[Run], metrics: Sequence[Metric], window: int, over: Axis = "step", heldout_marks: bool = False
) -> Drawing:
    """Draw small multiples, one panel per metric, with one legend for all.

    Args:
        runs: Runs in the order of their colours.
        metrics: Metrics in reading order.
        window: Steps of the smoothing window; 1 draws the raw values only.
        over: "step", or "wall_time_s", which leaves out runs without times.
        heldout_marks: Whether the held-out true rate is marked in the panel of the true rate.
    """
    label, scale = ("Training step", 1.0) if over == "step" else _time_unit(runs)
    with matplotlib.rc_context(RC_PARAMS):
        figure, axes = _subplots(len(metrics), label)
        panels = []
        for metric, ax in zip(metrics, axes, strict=True):
            curves = tuple(_curve(run, metric.name, window, over, scale) for run in runs)
            panels.append(Panel(metric, ax, curves))
            _draw_curves(ax, curves, window)
            _limit(ax, metric, curves)
            _mark_gaps(ax, curves)
            note = "each judge's own scale" if metric.name == "reward" and scales_differ(runs) else metric.unit
            if heldout_marks and metric.name == "true_rate":
                note = _mark_heldout(ax, [_curve(run, "heldout_true_rate", 1, over, scale) for run in runs])
            _title(ax, metric.title, note)
        _legend(figure, runs)
        figure.draw_without_rendering()  # lays the panels out, so that their heights are known
        if len(runs) <= MAX_END_LABELS:
            for panel in panels:
                _label_ends(panel)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what is saved, and however often, stands where it stands now
    return Drawing(figure, tuple(panels), label)


def _subplots(count: int, x_label: str) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width, height = LARGE_PANEL_INCHES if columns < COLUMNS else SMALL_PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[max(0, count - columns) : count]:
        ax.set_xlabel(x_label)
    return figure, axes[:count]


def _time_unit(runs: Sequence[Run]) -> tuple[str, float]:
    longest_s = max((row.get("wall_time_s", 0.0) for run in runs for row in run.rows), default=0.0)
    return ("Wall time (hours)", 3600.0) if longest_s > 3 * 3600 else ("Wall time (minutes)", 60.0)


def _curve(run: Run, metric: str, window: int, over: Axis, scale: float) -> Curve:
    steps, values = run.series(metric)
    smoothed = dict(zip(steps, smooth(steps, values, window), strict=True))
    rows = [row for row in run.rows if metric in row and over in row]
    return Curve(
        x=[row[over] / scale for row in rows],
        raw=[row[metric] if row["step"] in smoothed else math.nan for row in rows],
        smoothed=[float(smoothed.get(row["step"], math.nan)) for row in rows],
    )


def _draw_curves(ax: Axes, curves: Sequence[Curve], window: int) -> None:
    for index, curve in enumerate(curves):
        style = line_style(index)
        if window > 1 and curve.smoothed != curve.raw:
            ax.plot(curve.x, curve.raw, lw=0.7, alpha=0.3, zorder=2, **style)
        ax.plot(curve.x, curve.smoothed, lw=1.9, zorder=3, **style)
        marked = slice(None) if len(curve.x) < 20 else slice(-1, None)
        ax.plot(curve.x[marked], curve.smoothed[marked], "o", ms=3.2, zorder=3, color=style["color"])


def _mark_heldout(ax: Axes, curves: Sequence[Curve]) -> str:
    for index, curve in enumerate(curves):
        some = slice(None, None, -max(1, -(-len(curve.x) // MAX_MARKS)))  # from the last one backwards
        ax.plot(
            curve.x[some], curve.raw[some], "o", ms=4, mfc="white", mec=line_style(index)["color"], mew=1.1, zorder=4
        )
    return "\N{WHITE CIRCLE} held-out prompts" if any(curve.x for curve in curves) else ""


def _mark_gaps(ax: Axes, curves: Sequence[Curve]) -> None:
    """A cross where a curve stops being finite, and dots for as long as the run went on without a finite value."""
    for index, curve in enumerate(curves):
        color, height = line_style(index)["color"], ax.get_ylim()[0]
        for is_finite, group in itertools.groupby(zip(curve.x, curve.smoothed, strict=True), key=_has_finite_value):
            points = list(group)
            if is_finite:
                height = points[-1][1]
                continue
            ax.plot([points[0][0], points[-1][0]], [height, height], lw=1.1, ls=":", color=color, zorder=3)
            ax.plot(points[0][0], height, "x", ms=6.5, mew=1.8, color=color, zorder=5, clip_on=False)
            ax.annotate(
                "NaN",
                (points[0][0], height),
                xytext=(3, 5),
                textcoords="offset points",
                fontsize=7,
                fontweight="bold",
                color=color,
                annotation_clip=False,
            )


def _has_finite_value(point: tuple[float, float]) -> bool:
    return math.isfinite(point[1])


def _limit(ax: Axes, metric: Metric, curves: Sequence[Curve]) -> None:
    values = [value for curve in curves for value in curve.raw if math.isfinite(value)]
    end = max((curve.x[-1] for curve in curves if curve.x), default=0.0)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=ROUND_STEPS))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=ROUND_STEPS))
    ax.set_xlim(0, 1.02 * end or 1.0)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if metric.name == "judge_failure_rate":
        ax.set_ylim(0, max(0.05, 1.15 * high))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif metric.share and low >= 0 and high <= 1:
        ax.set_ylim(0, 1)
    else:
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(0 if 0 <= low < 0.4 * high else low - margin, high + margin)


def _label_ends(panel: Panel) -> None:
    """Write each curve's last value at the panel's right edge, moved apart where two would overlap."""
    ax = panel.axes
    low, high = ax.get_ylim()
    points_per_unit = ax.get_window_extent().height * 72 / ax.figure.dpi / (high - low)
    ends = sorted((finite[-1], index) for index, curve in enumerate(panel.curves) if (finite := curve.finite()))
    heights = _spread([value * points_per_unit for value, _ in ends], LABEL_GAP_POINTS)
    for (value, index), height in zip(ends, heights, strict=True):
        ax.annotate(
            panel.metric.format(panel.curves[index].smoothed[-1]),
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(5, height - value * points_per_unit),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            fontweight="bold",
            color=line_style(index)["color"],
            annotation_clip=False,
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved as a whole to be at least `gap` apart, each group of close ones about its middle."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while (
            len(groups) > 1
            and _middle(groups[-1]) - _middle(groups[-2]) < gap * (len(groups[-1]) + len(groups[-2])) / 2
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_middle(group) + gap * (place - (len(group) - 1) / 2) for group in groups for place in range(len(group))]


def _middle(heights: Sequence[float]) -> float:
    return sum(heights) / len(heights)


def _title(ax: Axes, title: str, note: str) -> None:
    ax.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK, pad=7)
    ax.set_title(note, loc="right", fontsize=7.5, color=GREY, pad=7)


def _legend(figure: Figure, runs: Sequence[Run]) -> None:
    labels = run_labels(runs)
    handles = [Line2D([], [], lw=2.4, label=label, **line_style(index)) for index, label in enumerate(labels)]
    points_per_entry = 48 + 5.5 * max(map(len, labels))
    columns = max(1, min(len(handles), int(figure.get_figwidth() * 72 / points_per_entry)))
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_INCHES * -(-len(handles) // columns))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        handlelength=1.6,
        columnspacing=2.2,
        borderaxespad=0.2,
    )
