"""`flip eval retrieval`: does a judge tell the instructions of your data apart?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_judging import conclude, judged, show_costs
from open_instruct_flip.commands.eval_options import with_judges, with_judging, with_out
from open_instruct_flip.eval.config import EvalConfig


@click.command()
@click.argument("data", metavar="FILE")
@with_judges
@click.option("--others", type=click.IntRange(1), default=9, show_default=True, help="Other instructions in a line-up.")
@with_out("runs/eval/retrieval")
@with_judging
def retrieval(
    data: str,
    judges: tuple[str, ...],
    others: int,
    out: Path | None,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Find each response's own instruction among others, without labels.

    FILE has rows as for `flip score`. The flip judge is asked once about each response; another judge scores it as a
    response to each instruction of its line-up. DIR gets judgements.jsonl and summary.json.
    """
    from open_instruct_flip.eval.contenders import find_contenders
    from open_instruct_flip.eval.retrieval import Retrieval, check_judges, judged_items, line_ups, scores_in_line_ups
    from open_instruct_flip.eval.run import Pass, by_judge, identified
    from open_instruct_flip.eval.selection import digest, select

    contenders = find_contenders(judges, judge_options, clients)
    check_judges(one.judge for one in contenders)
    benchmark = Retrieval()
    answered = select(benchmark.read(data, config.split), data, (), config)
    lined_up = line_ups(answered, others, config.bootstrap_seed)
    passes = [Pass(one, judged_items(answered, lined_up, type(one.judge))) for one in contenders]
    if config.dry_run:
        return show_costs(passes, config)
    passes, identities = identified(passes)
    settings = {
        "benchmark": benchmark.name,
        "items": digest([*answered, *lined_up]),
        "half": config.half,
        "runs": config.runs,
        "judges": identities,
    }
    folder = out or Path("runs") / "eval" / benchmark.name
    with judged(benchmark.name, passes, settings, folder, config) as finished:
        rows = by_judge(finished)
        scores = {one.label: scores_in_line_ups(rows[one.label], lined_up, one.judge) for one in contenders}
        conclude(benchmark, lined_up, scores, rows, config, settings, folder)
    return 0
