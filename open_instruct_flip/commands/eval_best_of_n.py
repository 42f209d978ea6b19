"""`flip eval best-of-n`: how good the responses are that a judge picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_judging import judged, show, show_costs
from open_instruct_flip.commands.eval_options import with_judges, with_judging, with_out
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig

NAME = "best-of-n"


@click.command(NAME)
@click.argument("data", metavar="FILE")
@click.option("--gold", default="gold", show_default=True, help="Column with a gold score for each response.")
@with_judges
@with_out("runs/eval/best-of-n")
@with_judging
def best_of_n(
    data: str,
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
    from open_instruct_flip.eval.best_of_n import curves, read_prompts, write_curves
    from open_instruct_flip.eval.contenders import find_contenders
    from open_instruct_flip.eval.run import Pass, by_judge, identified, scores_of
    from open_instruct_flip.eval.selection import digest, select
    from open_instruct_flip.eval.tables import curve_table

    if config.runs > 1:
        raise UsageError("flip eval best-of-n judges once; leave --runs out")
    contenders = find_contenders(judges, judge_options, clients)
    prompts = read_prompts(data, gold, config.split)
    items = select((item for item, _ in prompts), data, (), config)
    scores = dict(zip((item.id for item, _ in prompts), (own for _, own in prompts), strict=True))
    passes = [Pass(contender, items) for contender in contenders]
    if config.dry_run:
        return show_costs(passes, config)
    passes, identities = identified(passes)
    settings = {"benchmark": NAME, "items": digest(items), "runs": 1, "judges": identities}
    folder = out or Path("runs") / "eval" / NAME
    with judged(NAME, passes, settings, folder, config) as finished:
        of_judges = {label: scores_of(rows, items)[0] for label, rows in by_judge(finished).items()}
        found = curves([scores[item.id] for item in items], of_judges, config.bootstrap_seed)
        show([curve_table(found)], write_curves(folder, found))
    return 0
