"""The comparison as one HTML file that needs no network: figures, tables, and values under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_instruct_flip.compare.figure import Drawing, scales_differ
from open_instruct_flip.compare.run import Run, run_labels
from open_instruct_flip.compare.summary import SummaryLine, gap_notes
from open_instruct_flip.compare.verdicts import Verdict
from open_instruct_flip.page.html import render
from open_instruct_flip.page.style import line_style
from open_instruct_flip.page.svg import inline_svg

HOVER_POINTS = 400
MAX_SETTING_CHARS = 60


@dataclass(frozen=True)
class Section:
    """A figure of the page with its heading and one sentence on how to read it."""

    title: str
    text: str
    drawing: Drawing


def write_page(
    file: Path,
    runs: Sequence[Run],
    sections: Sequence[Section],
    lines: Sequence[SummaryLine],
    verdicts: Sequence[Verdict],
    window: int,
) -> None:
    """Write the page.

    Args:
        file: Where to.
        runs: The compared runs, in the order of their colours.
        sections: Figures in reading order; the first stands above the summary.
        lines: The summary table.
        verdicts: The judges' verdicts on the final policies; empty when none were asked for.
        window: Steps of the smoothing window, told to the reader.
    """
    colors = {run.name: line_style(index)["color"] for index, run in enumerate(runs)}
    html = render(
        "open_instruct_flip.compare",
        "compare.html.j2",
        runs=[(run, label, colors[run.name]) for run, label in zip(runs, run_labels(runs), strict=True)],
        figures=[(section, inline_svg(section.drawing.svg(), f"f{n}")) for n, section in enumerate(sections)],
        hover=[_hover(section.drawing, runs) for section in sections],
        metrics=_by_metric(lines),
        verdicts={(verdict.run, verdict.judge): verdict for verdict in verdicts},
        judges=list(dict.fromkeys(verdict.judge for verdict in verdicts)),
        colors=colors,
        settings=differing_settings(runs),
        notes=[note for run in runs for note in run.notes],
        gap_notes=gap_notes(lines),
        scales_differ=scales_differ(runs),
        window=window,
    )
    file.write_text(html, encoding="utf-8")


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The settings in which the runs differ, with each run's value as text; nested ones with dots."""
    flat = [_flatten(run.config) for run in runs]
    names = sorted({name for settings in flat for name in settings})
    rows = [(name, [settings.get(name, "\N{EN DASH}") for settings in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _flatten(config: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(config, dict):
        return {prefix: str(config)[:MAX_SETTING_CHARS]}
    flat: dict[str, str] = {}
    for name, value in config.items():
        flat |= _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _by_metric(lines: Sequence[SummaryLine]) -> list[list[SummaryLine]]:
    names = list(dict.fromkeys(line.metric.name for line in lines))
    return [[line for line in lines if line.metric.name == name] for name in names]


def _hover(drawing: Drawing, runs: Sequence[Run]) -> dict[str, Any]:
    """Where the panels stand in the figure (shares of its width and height, from the top left), and their curves."""
    labels = run_labels(runs)
    panels = []
    for panel in drawing.panels:
        box = panel.axes.get_position()
        curves = []
        for index, curve in enumerate(panel.curves):
            every = max(1, -(-len(curve.x) // HOVER_POINTS))
            points = list(zip(curve.x, curve.smoothed, strict=True))[::every]
            curves.append(
                {
                    "run": labels[index],
                    "color": line_style(index)["color"],
                    "x": [float(f"{x:.6g}") for x, _ in points],
                    "y": [float(f"{y:.4g}") for _, y in points],
                    "text": [panel.metric.format(y) for _, y in points],
                }
            )
        panels.append(
            {
                "box": [round(float(v), 5) for v in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
                "x": [float(v) for v in panel.axes.get_xlim()],
                "y": [float(v) for v in panel.axes.get_ylim()],
                "unit": panel.metric.unit,
                "curves": curves,
            }
        )
    return {"label": drawing.x_label, "panels": panels}
