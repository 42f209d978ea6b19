"""A comparison on disk: the picture, the page, the aligned curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from open_instruct_flip.compare.figure import MAX_END_LABELS, draw, headline_metrics
from open_instruct_flip.compare.metrics import known_metrics
from open_instruct_flip.compare.page import Section, write_page
from open_instruct_flip.compare.run import Run, run_labels
from open_instruct_flip.compare.summary import SummaryLine, write_aligned
from open_instruct_flip.compare.verdicts import Verdict


@dataclass(frozen=True)
class Outputs:
    """The files of a comparison: the headline picture, every curve over steps, over wall time, the page, the CSV."""

    picture: Path
    curves: Path
    wall_time: Path | None
    page: Path
    aligned: Path


def write_comparison(
    out: Path, runs: Sequence[Run], lines: Sequence[SummaryLine], verdicts: Sequence[Verdict], window: int
) -> Outputs:
    """Draw and write everything into `out`, which is made when missing."""
    out.mkdir(parents=True, exist_ok=True)
    timed = any("wall_time_s" in row for run in runs for row in run.rows)
    files = Outputs(
        out / "compare.png",
        out / "curves.png",
        out / "wall_time.png" if timed else None,
        out / "compare.html",
        out / "curves.csv",
    )
    sections = _sections(runs, window, timed)
    for section, file in zip(sections, (files.picture, files.curves, files.wall_time), strict=False):
        if file is not None:
            section.drawing.save_png(file)
    write_page(files.page, runs, sections, lines, verdicts, window)
    write_aligned(runs, files.aligned)
    return files


def _sections(runs: Sequence[Run], window: int, timed: bool) -> list[Section]:
    metrics, headline = known_metrics(runs), headline_metrics(runs)
    text = f"Strong lines: mean over {window} steps. Light lines: every step. " if window > 1 else ""
    text += "Numbers at the right edge: each run's last value. " if len(runs) <= MAX_END_LABELS else ""
    if "true_rate" in {metric.name for metric in headline}:
        text += "True rate: how far responses follow their instruction, checked by rule; no judge sees it."
    title = " and ".join(metric.title.lower() for metric in headline).capitalize()
    sections = [
        Section(f"{title}: {_enumerate(run_labels(runs))}", text, draw(runs, headline, window, heldout_marks=True)),
        Section("Over training steps", "All metrics that at least one run logged.", draw(runs, metrics, window)),
    ]
    if timed:
        text = "The same curves against the time since each run's start, smoothed over steps as above."
        sections.append(Section("Over wall time", text, draw(runs, metrics, window, over="wall_time_s")))
    return sections


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
