"""`flip eval`: is this judge any good?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_advise import advise
from open_instruct_flip.commands.eval_attacks import attacks
from open_instruct_flip.commands.eval_best_of_n import best_of_n
from open_instruct_flip.commands.eval_judging import conclude, judged, show_costs
from open_instruct_flip.commands.eval_options import read_benchmark, with_benchmark, with_judges, with_judging, with_out
from open_instruct_flip.commands.eval_report import report
from open_instruct_flip.commands.eval_retrieval import retrieval
from open_instruct_flip.eval.config import EvalConfig


@click.group()
def evaluate() -> None:
    """See whether a judge picks the better response, and at what cost."""


@evaluate.command()
@with_benchmark
@with_judges
@with_out("runs/eval/BENCHMARK")
@with_judging
def run(
    name: str,
    data: str | None,
    judges: tuple[str, ...],
    subsets: tuple[str, ...],
    out: Path | None,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Judge a benchmark's responses: how often does the right one come first?

    DIR gets judgements.jsonl, a row per judgement, and summary.json. The same command goes on where an interrupted one
    stopped.
    """
    from open_instruct_flip.eval.contenders import find_contenders
    from open_instruct_flip.eval.run import Pass, by_judge, identified, scores_of
    from open_instruct_flip.eval.selection import digest

    contenders = find_contenders(judges, judge_options, clients)
    benchmark, items = read_benchmark(name, data, subsets, config)
    passes = [Pass(contender, items) for contender in contenders]
    if config.dry_run:
        return show_costs(passes, config)
    passes, identities = identified(passes)
    settings = {
        "benchmark": name,
        "items": digest(items),
        "half": config.half,
        "runs": config.runs,
        "judges": identities,
    }
    folder = out or Path("runs") / "eval" / name
    with judged(name, passes, settings, folder, config) as finished:
        rows = by_judge(finished)
        scores = {label: scores_of(own, items) for label, own in rows.items()}
        conclude(benchmark, items, scores, rows, config, settings, folder)
    return 0


for command in (retrieval, best_of_n, attacks, report, advise):
    evaluate.add_command(command)
