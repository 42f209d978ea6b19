"""`flip score`: the rewards of a file of responses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options, with_judge_options
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError
from open_instruct_flip.score.config import ScoreConfig

if TYPE_CHECKING:
    from open_instruct_flip.judges.base import Judge
    from open_instruct_flip.rows.files import RowSource
    from open_instruct_flip.score.output import PartialOutput, StreamedOutput
    from open_instruct_flip.score.summary import Summary

INTERRUPTED = 130
STDOUT = "-"
WHERE_REPLIES_FAIL = (
    "; if replies keep failing: --restart with another form of reply (--reply_contract auto) or another judge model, "
    "or a higher --max_failure_rate"
)


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON")
@config_options(config=ScoreConfig, client=ClientConfig)
@with_judge_options
def score(
    source: str,
    out: str,
    as_json: bool,
    config: ScoreConfig,
    client: ClientConfig,
    judge_options: Mapping[str, Any],
) -> int:
    """Score the responses in IN with a judge, into OUT.

    IN is a .jsonl, .jsonl.gz, .json or .parquet file, a folder or hub dataset of them, or - for JSON lines on standard
    input; OUT is .jsonl, .jsonl.gz or .parquet, or - for standard output. A row of IN has `messages` or `prompt`, and
    `responses` or `response`; OUT gets one row per response. The same command goes on where an interrupted one stopped.
    """
    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.judges.registry import judge_class
    from open_instruct_flip.judging.identity import settled
    from open_instruct_flip.rows.files import RowSource
    from open_instruct_flip.score.check import check_inputs
    from open_instruct_flip.score.settings import reward_settings

    if as_json and out == STDOUT:
        raise UsageError("--json prints the summary on standard output, where OUT - writes the rows; name a file")
    judge = judge_class(config.judge).from_options(judge_options, client)
    rows = RowSource.find(source, config.split)
    file = None if out == STDOUT else Path(os.path.realpath(out) if os.path.islink(out) else out)
    check_inputs(rows, file, judge, config)
    if config.dry_run:
        return _tell_ahead(rows, judge, config)
    reports = check_endpoints(judge.client.config)
    judge = settled(judge)
    settings = reward_settings(rows, judge, config, reports)
    try:
        summary = _score(rows, _output(file, settings, config), judge, config)
    except KeyboardInterrupt:
        click.echo(f"interrupted{_how_to_go_on(rows, file, config)}", err=True)
        return INTERRUPTED
    except (UsageError, MissingDependencyError):
        raise
    except FlipError as error:
        raise type(error)(f"{error}{_how_to_go_on(rows, file, config)}") from error
    _report(summary, settings, file, config, as_json)
    _check_failures(summary, _how_to_go_on(rows, file, config), config)
    return 0


def _tell_ahead(source: RowSource, judge: Judge, config: ScoreConfig) -> int:
    """Say what the whole of IN takes, and return the exit code."""
    import asyncio

    from open_instruct_flip.judging.counting import told
    from open_instruct_flip.score.dry_run import count_requests

    ahead = asyncio.run(count_requests(source, judge, config))
    bad = f", {ahead.num_bad:,} more can't be judged" if ahead.num_bad else ""
    click.echo(f"{ahead.num_responses:,} responses to judge{bad}: {told(ahead.usage, config.prices())}")
    return 0


def _output(file: Path | None, settings: Mapping[str, Any], config: ScoreConfig) -> PartialOutput | StreamedOutput:
    from open_instruct_flip.score.output import PartialOutput, StreamedOutput

    if file is None:
        return StreamedOutput()
    return PartialOutput(file, settings, restart=config.restart, max_failure_rate=config.max_failure_rate)


def _score(source: RowSource, output: PartialOutput | StreamedOutput, judge: Judge, config: ScoreConfig) -> Summary:
    import asyncio

    from rich.console import Console

    from open_instruct_flip.judging.progress import shown

    with shown(source.size(), Console(stderr=True)) as watch:
        if config.ray:
            from open_instruct_flip.score.on_ray import score_file_on_ray

            return score_file_on_ray(source, output, judge, config, watch)
        from open_instruct_flip.score.run import score_file

        return asyncio.run(score_file(source, output, judge, config, watch))


def _how_to_go_on(source: RowSource, out: Path | None, config: ScoreConfig) -> str:
    if out is None:
        return ""
    if not (source.files or source.commit):
        return f"; what is finished is kept in {out}.partial"
    command = "the same command without --restart" if config.restart else "the same command"
    return f"; what is finished is kept in {out}.partial, {command} goes on from there"


def _report(
    summary: Summary, settings: Mapping[str, Any], out: Path | None, config: ScoreConfig, as_json: bool
) -> None:
    """Print the summary, write it beside a finished OUT, and warn of what deserves a second look."""
    from rich.console import Console

    from open_instruct_flip.score.report import summary_json, summary_table, warnings

    text = json.dumps(summary_json(summary, settings, config.prices()), indent=1)
    if as_json:
        click.echo(text)
    else:
        Console(stderr=out is None).print(summary_table(summary, config.prices()))
    if out is not None and summary.failure_rate <= config.max_failure_rate:
        out.with_name(f"{out.name}.summary.json").write_text(f"{text}\n", "utf-8")
        click.echo(out, err=as_json)
    for warning in warnings(summary):
        click.echo(f"flip: warning: {warning}", err=True)


def _check_failures(summary: Summary, how_to_go_on: str, config: ScoreConfig) -> None:
    """Raise FlipError when too many responses have no reward."""
    if summary.num_bad and summary.num_bad == summary.num_responses:
        raise FlipError("no row of the input can be judged; `detail` says why")
    if summary.failure_rate > config.max_failure_rate:
        advice = WHERE_REPLIES_FAIL if summary.num_reply_failures else ""
        raise FlipError(
            f"{summary.failure_rate:.2%} of the judgements failed, more than --max_failure_rate "
            f"{config.max_failure_rate:g} allows, the first with {summary.first_failure}{how_to_go_on}{advice}"
        )
