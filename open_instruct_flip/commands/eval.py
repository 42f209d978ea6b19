"""`flip eval`: is this judge any good?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_advise import advise
from open_instruct_flip.commands.eval_attacks import attacks
from open_instruct_flip.commands.eval_best_of_n import best_of_n
from open_instruct_flip.commands.eval_options import (
    INTERRUPTED,
    read_benchmark,
    with_benchmark,
    with_judges,
    with_judging,
    with_out,
)
from open_instruct_flip.commands.eval_report import report
from open_instruct_flip.commands.eval_retrieval import retrieval
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError, install_line
from open_instruct_flip.eval.config import EvalConfig

if TYPE_CHECKING:
    from open_instruct_flip.eval.benchmark import Benchmark, Scores
    from open_instruct_flip.eval.contenders import Contender
    from open_instruct_flip.eval.items import Item
    from open_instruct_flip.eval.run import JudgeItems
    from open_instruct_flip.eval.store import JudgementStore
    from open_instruct_flip.judging.lines import Output

WIDTH_OF_FILES = 160
"""Characters of a table's line where no terminal says how many it has."""


@click.group()
def evaluate() -> None:
    """See whether a judge picks the better response, and at what cost."""
    if find_spec("numpy") is None:
        raise MissingDependencyError(f"flip eval needs numpy: {install_line('eval')}")


@evaluate.command()
@with_benchmark
@with_judges
@with_out("runs/eval/BENCHMARK")
@click.option("--dry_run", is_flag=True, help="Count requests and tokens, and send nothing.")
@with_judging
def run(
    name: str,
    data: str | None,
    judges: tuple[str, ...],
    subsets: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Judge a benchmark's responses: how often does the right one come first?

    DIR gets judgements.jsonl, a row per judgement, and summary.json. The same command goes on where an interrupted one
    stopped.
    """
    from open_instruct_flip.eval.contenders import find_contenders, identify
    from open_instruct_flip.eval.selection import digest
    from open_instruct_flip.eval.store import JudgementStore

    contenders = find_contenders(judges, judge_options, clients)
    benchmark, items = read_benchmark(name, data, subsets, config)
    _check_group_sizes(contenders, items)
    if dry_run:
        _show_costs(contenders, items, config)
        return 0
    settings = {
        "benchmark": name,
        "items": digest(items),
        "half": config.half,
        "runs": config.runs,
        "judges": identify(contenders),
    }
    folder = out or Path("runs") / "eval" / name
    try:
        with JudgementStore(folder, settings, restart=config.restart) as store:
            _judge(name, items, contenders, store, config)
            _report(benchmark, items, contenders, store, config, settings, folder)
    except KeyboardInterrupt:
        click.echo(f"interrupted{_how_to_go_on(folder)}", err=True)
        return INTERRUPTED
    except (UsageError, MissingDependencyError):
        raise
    except FlipError as error:
        raise type(error)(f"{error}{_how_to_go_on(folder)}") from error
    return 0


def _how_to_go_on(folder: Path) -> str:
    return f"; what is finished is kept in {folder}, the same command without --restart goes on from there"


def _check_group_sizes(contenders: Sequence[Contender], items: Sequence[Item]) -> None:
    """Raise UsageError where a judge that compares would get a response alone."""
    single = next((item.id for item in items if len(item.responses) < 2), None)
    for contender in contenders:
        if single is not None and contender.judge.compares_group:
            raise UsageError(
                f"the {contender.judge.name} judge compares responses, and item {single} has one; leave the judge out"
            )


def _show_costs(contenders: Sequence[Contender], items: Sequence[Item], config: EvalConfig) -> None:
    from rich.console import Console

    from open_instruct_flip.eval.dry_run import count_requests
    from open_instruct_flip.eval.tables import costs_ahead

    counts = {one.label: asyncio.run(count_requests(one, items, config.runs)) for one in contenders}
    Console().print(costs_ahead(counts, config.prices()))


def _judge(
    name: str, items: Sequence[Item], contenders: Sequence[Contender], store: JudgementStore, config: EvalConfig
) -> None:
    from rich.console import Console

    from open_instruct_flip.eval.run import judge_all, judge_items
    from open_instruct_flip.judging.progress import shown

    runs = sum(one.num_runs(config.runs) for one in contenders)
    size = runs * sum(len(item.responses) for item in items)
    judging: JudgeItems = judge_items
    if config.ray:
        from open_instruct_flip.eval.on_ray import RayJudging

        judging = RayJudging(config.ray_workers)
    with shown(size, Console(stderr=True)) as watch:
        asyncio.run(judge_all(name, items, contenders, store, config, watch, judging=judging))


def _report(
    benchmark: Benchmark,
    items: Sequence[Item],
    contenders: Sequence[Contender],
    store: JudgementStore,
    config: EvalConfig,
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    """Put the judgements in order, and say what they amount to."""
    from open_instruct_flip.eval.run import keys_of, scores_of

    finished = store.finish(keys_of(contenders, items, config.runs))
    rows = {one.label: [row for row in finished if row["judge"] == one.label] for one in contenders}
    scores = {label: scores_of(own, items, label) for label, own in rows.items()}
    conclude(benchmark, items, scores, rows, config, settings, folder)


def conclude(
    benchmark: Benchmark,
    items: Sequence[Item],
    scores: Mapping[str, Scores],
    rows: Mapping[str, Sequence[Output]],
    config: EvalConfig,
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write the summary of each judge's scores and judgements, by its label, and print its tables."""
    from rich.console import Console

    from open_instruct_flip.eval.results import differences, results_of
    from open_instruct_flip.eval.summary import SUMMARY, write_summary
    from open_instruct_flip.eval.tables import tables

    seed = config.bootstrap_seed
    results = results_of(benchmark, items, scores, rows, config.prices(), seed)
    summary = write_summary(folder, benchmark.name, settings, results, differences(benchmark, items, scores, seed))
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    for table in tables(benchmark.name, benchmark.headline, summary):
        console.print(table)
    click.echo(folder / SUMMARY)


for command in (retrieval, best_of_n, attacks, report, advise):
    evaluate.add_command(command)
