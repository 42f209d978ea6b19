"""What the commands of `flip eval` do that judge: count first, judge into a folder, say how to go on, sum up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError
from open_instruct_flip.eval.config import EvalConfig

if TYPE_CHECKING:
    from rich.table import Table

    from open_instruct_flip.eval.benchmark import Benchmark, Scores
    from open_instruct_flip.eval.items import Item
    from open_instruct_flip.eval.run import JudgeItems, Pass
    from open_instruct_flip.eval.store import JudgementStore
    from open_instruct_flip.judging.lines import Output

INTERRUPTED = 130
ONE_VERDICT, ENOUGH_JUDGEMENTS = 0.75, 20
"""From which share on one reward is hardly a judgement, and of how many of them that can be said."""
WIDTH_OF_FILES = 160
"""Characters of a table's line where no terminal says how many it has."""


def show_costs(passes: Sequence[Pass], config: EvalConfig) -> int:
    """Print what judging would take, and return the exit code."""
    from open_instruct_flip.eval.dry_run import count_requests
    from open_instruct_flip.eval.tables import costs_ahead

    show([costs_ahead(asyncio.run(count_requests(passes, config.runs)), config.prices())])
    return 0


def show(tables: Iterable[Table], file: Path | None = None) -> None:
    """Print tables, and the file that holds their figures."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    for table in tables:
        console.print(table)
    if file is not None:
        click.echo(file)


@contextmanager
def judged(
    benchmark: str, passes: Sequence[Pass], settings: Mapping[str, Any], folder: Path, config: EvalConfig
) -> Iterator[list[Output]]:
    """Judge all passes into a folder, which stays this process's own while the rows are worked on.

    Yields:
        The rows in the order of the passes.

    Raises:
        click.exceptions.Exit: It was interrupted, and how to go on was said.
    """
    from open_instruct_flip.eval.run import keys_of
    from open_instruct_flip.eval.store import JudgementStore

    command = "the same command without --restart" if config.restart else "the same command"
    how_to_go_on = f"; what is finished is kept in {folder}, {command} goes on from there"
    try:
        with JudgementStore(folder, settings, restart=config.restart) as store:
            _judge(benchmark, passes, store, config)
            yield store.finish(keys_of(passes, config.runs))
    except KeyboardInterrupt:
        click.echo(f"interrupted{how_to_go_on}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (UsageError, MissingDependencyError):
        raise
    except FlipError as error:
        raise type(error)(f"{error}{how_to_go_on}") from error


def _judge(benchmark: str, passes: Sequence[Pass], store: JudgementStore, config: EvalConfig) -> None:
    from rich.console import Console

    from open_instruct_flip.eval.run import judge_all, judge_items
    from open_instruct_flip.judging.progress import shown

    judging: JudgeItems = judge_items
    if config.ray:
        from open_instruct_flip.eval.on_ray import RayJudging

        judging = RayJudging(config.ray_workers)
    with shown(sum(one.size(config.runs) for one in passes), Console(stderr=True)) as watch:
        asyncio.run(judge_all(benchmark, passes, store, config, watch, judging))


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
    from open_instruct_flip.eval.results import differences, results_of
    from open_instruct_flip.eval.summary import SUMMARY, write_summary
    from open_instruct_flip.eval.tables import tables

    seed = config.bootstrap_seed
    results = results_of(benchmark, items, scores, rows, config.prices(), seed)
    summary = write_summary(folder, benchmark.name, settings, results, differences(benchmark, items, scores, seed))
    show(tables(benchmark.name, benchmark.headline, summary), folder / SUMMARY)
    for label, result in results.items():
        reward, share = result["commonest"]["reward"], result["commonest"]["share"]
        if share is not None and share > ONE_VERDICT and result["cost"]["judgements"] >= ENOUGH_JUDGEMENTS:
            click.echo(
                f"flip: warning: {label} gives {share:.0%} of the responses the same reward, {reward:g}: it hardly "
                "tells them apart, whatever its accuracy",
                err=True,
            )
