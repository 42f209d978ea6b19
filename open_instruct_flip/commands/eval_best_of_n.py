"""`flip eval best-of-n`: how good the responses are that a judge picks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_options import INTERRUPTED, with_judges, with_judging, with_out
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig

NAME = "best-of-n"


@click.command(NAME)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--gold", default="gold", show_default=True, help="Column with a gold score for each response.")
@with_judges
@with_out("runs/eval/best-of-n")
@with_judging
def best_of_n(
    file: Path,
    gold: str,
    judges: tuple[str, ...],
    out: Path | None,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Judge each prompt's responses in FILE: how good is the one that comes first?

    A row of FILE has a prompt, `responses`, and a list of gold scores. DIR gets judgements.jsonl and best_of_n.json.
    The same command goes on where an interrupted one stopped.
    """
    from rich.console import Console
    from rich.table import Table

    from open_instruct_flip.eval.best_of_n import curves, read_file, write_curves
    from open_instruct_flip.eval.contenders import find_contenders, identify
    from open_instruct_flip.eval.run import judge_all, keys_of, scores_of
    from open_instruct_flip.eval.selection import digest
    from open_instruct_flip.eval.store import JudgementStore
    from open_instruct_flip.judging.progress import shown

    if config.runs > 1 or config.ray:
        raise UsageError("flip eval best-of-n judges once, and not on Ray; leave --runs and --ray out")
    contenders = find_contenders(judges, judge_options, clients)
    items, scores = read_file(file, gold)
    items, scores = items[: config.limit], scores[: config.limit]
    settings = {"benchmark": NAME, "items": digest(items), "runs": 1, "judges": identify(contenders)}
    folder = out or Path("runs") / "eval" / NAME
    size = len(contenders) * sum(len(item.responses) for item in items)
    try:
        with (
            JudgementStore(folder, settings, restart=config.restart) as store,
            shown(size, Console(stderr=True)) as watch,
        ):
            asyncio.run(judge_all(NAME, items, contenders, store, config, watch))
            rows = store.finish(keys_of(contenders, items, 1))
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is finished is kept in {folder}, the same command goes on from there", err=True)
        return INTERRUPTED
    found = curves(scores, {one.label: scores_of(rows, items, one.label)[0] for one in contenders})
    table = Table("", *(f"N = {n}" for n in found[0].points), "failed", title="Gold score of the pick ± standard error")
    for curve in found:
        points = ("–" if one is None else f"{one.mean:.3f} ± {one.error:.3f}" for one in curve.points.values())
        table.add_row(curve.name, *points, f"{curve.failed:.1%}")
    Console().print(table)
    click.echo(write_curves(folder, found))
    return 0
