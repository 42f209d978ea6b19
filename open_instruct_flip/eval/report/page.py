"""The results of an evaluation as one HTML file that needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.eval.attacks.run import read_effects
from open_instruct_flip.eval.attacks.table import by_attack
from open_instruct_flip.eval.best_of_n import read_curves
from open_instruct_flip.eval.judgements import Judgement, folder_names, judged_items
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
    in_folders = Counter(judge for found in effects.values() for judge in {effect.judge for effect in found})
    names = folder_names(folders)
    judges, rows = by_attack(
        [
            replace(effect, judge=f"{effect.judge} ({names[folder]})") if in_folders[effect.judge] > 1 else effect
            for folder, found in effects.items()
            for effect in found
        ]
    )
    shown = [Row(attack, [Cell(*cell) for cell in cells]) for attack, cells in rows]
    return Table("Attacks", judges, shown, of="Attack") if shown else None
