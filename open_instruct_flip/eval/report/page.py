"""The results of an evaluation as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.eval.attacks.run import read_effects
from open_instruct_flip.eval.attacks.table import by_attack
from open_instruct_flip.eval.best_of_n import read_curves
from open_instruct_flip.eval.judgements import Judgement, judged_items, told_apart
from open_instruct_flip.eval.report.browser import browser_json
from open_instruct_flip.eval.report.curve import curve_svg
from open_instruct_flip.eval.report.tables import Cell, Row, Table, tables
from open_instruct_flip.eval.summary import read_summaries
from open_instruct_flip.page.html import render


def report_html(folders: Sequence[Path], rows: Sequence[Judgement]) -> str:
    """The page of these judgements.

    Args:
        folders: The result folders, whose other files are shown too.
        rows: Their judgements, attacked responses among them.
    """
    items = judged_items(rows)
    return render(
        "open_instruct_flip.eval.report",
        "report.html.j2",
        title=" and ".join(dict.fromkeys(item.benchmark for item in items)) or "Attacks",
        n_judgements=len(rows),
        n_items=len(items),
        tables=[table for summary in read_summaries(folders) for table in tables(summary)],
        attacks=_attacks(folders),
        curves=[curve_svg(curves) for curves in map(read_curves, folders) if curves],
        data=browser_json(items),
    )


def _attacks(folders: Sequence[Path]) -> Table | None:
    effects = {folder: read_effects(folder) for folder in dict.fromkeys(folders)}
    labels = told_apart({folder: {effect.judge for effect in found} for folder, found in effects.items()})
    judges, rows = by_attack(
        [replace(effect, judge=labels[folder, effect.judge]) for folder, found in effects.items() for effect in found]
    )
    shown = [Row(attack, [Cell(*cell) for cell in cells]) for attack, cells in rows]
    return Table("Attacks", judges, shown, of="Attack") if shown else None
