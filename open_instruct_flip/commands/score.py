"""`flip score`: the rewards of a file of responses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options, judge_options
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError
from open_instruct_flip.score.config import ScoreConfig

if TYPE_CHECKING:
    from open_instruct_flip.judges.base import Judge
    from open_instruct_flip.score.summary import Summary

INTERRUPTED = 130


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@config_options(config=ScoreConfig, client=ClientConfig)
@judge_options
def score(source: Path, out: Path, config: ScoreConfig, client: ClientConfig, judge_options: Mapping[str, Any]) -> int:
    """Score the responses in IN with a judge, into OUT.

    Both are .jsonl or .parquet. A row of IN has `messages` or `prompt`, and `responses` or `response`; OUT gets one
    row per response. The same command goes on where an interrupted one stopped.
    """
    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.judges.registry import judge_class
    from open_instruct_flip.score.run import check_run

    judge = judge_class(config.judge).from_options(judge_options, client)
    check_run(source, out, judge, config)
    check_endpoints(client)
    try:
        summary = _score(source, out, judge, config)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {_how_to_go_on(out, config)}", err=True)
        return INTERRUPTED
    except (UsageError, MissingDependencyError):
        raise
    except FlipError as error:
        raise type(error)(f"{error}; {_how_to_go_on(out, config)}") from error
    _print_summary(summary, out, config)
    _check_failures(summary, out, config)
    return 0


def _score(source: Path, out: Path, judge: Judge, config: ScoreConfig) -> Summary:
    import asyncio

    from rich.console import Console

    from open_instruct_flip.score.progress import shown
    from open_instruct_flip.score.rows import input_size

    with shown(input_size(source), Console(stderr=True)) as watch:
        if config.ray:
            from open_instruct_flip.score.on_ray import score_file_on_ray

            return score_file_on_ray(source, out, judge, config, watch)
        from open_instruct_flip.score.run import score_file

        return asyncio.run(score_file(source, out, judge, config, watch))


def _how_to_go_on(out: Path, config: ScoreConfig) -> str:
    command = "the same command without --restart" if config.restart else "the same command"
    return f"what is finished is kept in {out}.partial, {command} goes on from there"


def _print_summary(summary: Summary, out: Path, config: ScoreConfig) -> None:
    from rich.console import Console

    from open_instruct_flip.score.table import invalid_note, summary_table

    if not summary.num_responses:
        click.echo("the input holds no rows", err=True)
    Console().print(summary_table(summary, config.prices()))
    click.echo(out)
    if note := invalid_note(summary):
        click.echo(note, err=True)


def _check_failures(summary: Summary, out: Path, config: ScoreConfig) -> None:
    """Raise FlipError when too many responses have no reward."""
    if summary.num_failures and summary.num_failures == summary.num_responses:
        raise FlipError(f"every response failed, the first with {summary.first_failure}; the rows are in {out}")
    if summary.failure_rate > config.max_failure_rate:
        raise FlipError(
            f"{summary.failure_rate:.2%} of the responses failed, more than --max_failure_rate "
            f"{config.max_failure_rate:g} allows, the first with {summary.first_failure}; the rows are in {out}"
        )
