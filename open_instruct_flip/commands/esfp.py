"""`flip esfp`: train a masked language model as a judge."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options
from open_instruct_flip.errors import FlipError
from open_instruct_flip.esfp.config import TrainConfig
from open_instruct_flip.judges.config import ReplyConfig


@click.group()
def esfp() -> None:
    """A trained judge: an explanation, and a masked language model that fills a slot."""


@esfp.command()
@click.argument("pairs")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@config_options(reply=ReplyConfig, client=ClientConfig)
def explain(pairs: str, out: Path, reply: ReplyConfig, client: ClientConfig) -> int:
    """Have a judge model explain both responses of each pair in PAIRS, into OUT.

    A row of PAIRS has `prompt` or `messages`, `chosen` and `rejected`. The same command goes on where an interrupted
    one stopped, and asks again for what failed.
    """
    from rich.console import Console

    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.esfp.explain import explain_pairs, key_of_row
    from open_instruct_flip.esfp.pairs import read_pairs
    from open_instruct_flip.judges.esfp.explaining import Explainer
    from open_instruct_flip.judging.growing import GrowingFile, check_name
    from open_instruct_flip.judging.identity import judge_identity, settled
    from open_instruct_flip.judging.progress import shown

    explainer = Explainer.from_config(reply, client)
    check_name(out)
    read = list(read_pairs(pairs))
    reports = check_endpoints(client)
    explainer = settled(explainer)
    growing = GrowingFile(out, judge_identity(explainer, reports), key_of_row)
    with growing as file, shown(len(read), Console(stderr=True)) as watch:
        done = asyncio.run(explain_pairs(read, file, explainer, watch))
    click.echo(f"{out}: {done.pairs} pairs with explanations, {done.kept} of them from before")
    if done.failures:
        raise FlipError(
            f"{len(done.failures)} pairs have none; the first: {done.failures[0]}; the same command asks for them again"
        )
    return 0


@esfp.command()
@click.argument("pairs")
@config_options(config=TrainConfig)
def train(pairs: str, config: TrainConfig) -> None:
    """Train a masked language model on PAIRS, as `flip esfp explain` writes them, for --judge esfp."""
    from open_instruct_flip.esfp.pairs import read_pairs
    from open_instruct_flip.esfp.training import train_esfp

    trained = train_esfp(list(read_pairs(pairs)), config, lambda line: click.echo(line, err=True))
    click.echo(
        f"held-out accuracy {trained.accuracy_before:.1%} -> {trained.accuracy:.1%} on {trained.pairs[1]} pairs, "
        f"{trained.steps} steps on {trained.pairs[0]}"
    )
    click.echo(trained.folder)
