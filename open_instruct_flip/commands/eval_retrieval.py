"""`flip eval retrieval`: does a judge tell the instructions of your data apart?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_options import with_judges, with_judging
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig


@click.command()
@click.argument("data", metavar="FILE")
@with_judges
@click.option("--others", type=click.IntRange(1), default=9, show_default=True, help="Other instructions in a line-up.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/eval/retrieval"))
@with_judging
def retrieval(
    data: str,
    judges: tuple[str, ...],
    others: int,
    out: Path,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Find each response's own instruction among others, without labels.

    FILE has rows as for `flip score`. The flip judge is asked once about each response; another judge scores it as a
    response to each instruction of its line-up. DIR gets judgements.jsonl and summary.json.
    """
    from rich.console import Console

    from open_instruct_flip.commands.eval import conclude
    from open_instruct_flip.eval.contenders import find_contenders, identify
    from open_instruct_flip.eval.retrieval import Retrieval, judged_items, line_ups, scores_in_line_ups
    from open_instruct_flip.eval.run import judge_all, keys_of
    from open_instruct_flip.eval.selection import digest, select
    from open_instruct_flip.eval.store import JudgementStore
    from open_instruct_flip.judging.progress import shown

    if config.ray:
        raise UsageError("flip eval retrieval does not judge on Ray; leave --ray out")
    contenders = find_contenders(judges, judge_options, clients)
    for contender in contenders:
        if contender.judge.compares_group:
            raise UsageError(f"the {contender.judge.name} judge compares responses, and here each stands alone")
    benchmark = Retrieval()
    answered = select(benchmark.read(data, config.split), (), config)
    lined_up = line_ups(answered, others, config.bootstrap_seed)
    settings = {
        "benchmark": benchmark.name,
        "items": digest([*answered, *lined_up]),
        "half": config.half,
        "runs": config.runs,
        "judges": identify(contenders),
    }
    rows, scores = {}, {}
    with JudgementStore(out, settings, restart=config.restart) as store:
        of_each = [(one, judged_items(answered, lined_up, type(one.judge))) for one in contenders]
        for contender, items in of_each:
            with shown(contender.num_runs(config.runs) * len(items), Console(stderr=True)) as watch:
                asyncio.run(judge_all(benchmark.name, items, [contender], store, config, watch))
        keys = [key for contender, items in of_each for key in keys_of([contender], items, config.runs)]
        finished = store.finish(keys)
    for contender in contenders:
        rows[contender.label] = [row for row in finished if row["judge"] == contender.label]
        scores[contender.label] = scores_in_line_ups(rows[contender.label], lined_up, type(contender.judge))
    conclude(benchmark, lined_up, scores, rows, config, settings, out)
    return 0
