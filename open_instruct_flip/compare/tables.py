"""The comparison's tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from open_instruct_flip.compare.summary import SummaryLine
from open_instruct_flip.compare.verdicts import Verdict

NONE = "\N{EN DASH}"


def summary_table(lines: Sequence[SummaryLine], window: int) -> Table:
    """One line per metric and run: first, best with its step, last, area."""
    values = f"mean over {window} steps" if window > 1 else "raw values"
    table = Table(title=f"First, best and last: {values}. Area: mean over the shared steps.")
    for heading in ("metric", "run"):
        table.add_column(heading, overflow="fold")
    some_gap = any(line.gap for line in lines)
    for heading in ("first", "best", "at step", "last", "area", *(["not finite"] if some_gap else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for line in lines:
        if previous not in (None, line.metric):
            table.add_section()
        show = line.metric.format
        unit = f" [{line.metric.unit}]" if line.metric.unit else ""
        table.add_row(
            "" if line.metric == previous else escape(f"{line.metric.title}{unit}"),
            escape(line.run),
            show(line.first),
            show(line.best[0]) if line.best else NONE,
            str(line.best[1]) if line.best else NONE,
            show(line.last),
            NONE if line.mean is None else show(line.mean),
            *([str(line.gap or NONE)] if some_gap else []),
        )
        previous = line.metric
    return table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """One line per run and judge: the final policy's mean reward on the held-out prompts."""
    table = Table(title="Final policies under the same judges, mean reward on held-out prompts (± 95%)")
    for heading in ("judge", "run"):
        table.add_column(heading, overflow="fold")
    for heading in ("reward", "prompts", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for verdict in verdicts:
        mean = NONE if verdict.mean is None else f"{verdict.mean:.3f}"
        spread = "" if verdict.half_width is None else f" ± {verdict.half_width:.3f}"
        table.add_row(verdict.judge, escape(verdict.run), mean + spread, str(verdict.prompts), str(verdict.failures))
    return table
