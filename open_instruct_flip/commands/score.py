"""`flip score`: the rewards of a file of responses."""

from __future__ import annotations

from pathlib import Path

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.scoring.config import ScoreConfig


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@config_options(config=ScoreConfig, client=ClientConfig, judge_config=JudgeConfig)
def score(source: Path, out: Path, config: ScoreConfig, client: ClientConfig, judge_config: JudgeConfig) -> None:
    """Score the responses in IN with a judge, into OUT.

    Both are .jsonl or .parquet. A row of IN has `messages` or `prompt`, and `responses` or `response`; OUT gets one
    row per response. The same command goes on where an interrupted one stopped.
    """
    import asyncio

    from open_instruct_flip.judges.registry import judge_class
    from open_instruct_flip.scoring.run import score_file

    judge = judge_class(config.judge).from_config(judge_config, client)
    summary = asyncio.run(score_file(source, out, judge, config, lambda summary, position: None))
    click.echo(f"{out}: {summary.num_responses} responses, {summary.num_failures} failed")
