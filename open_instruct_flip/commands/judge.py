"""`flip judge`: a judge model of one's own."""

from __future__ import annotations

from collections.abc import Callable

import click

from open_instruct_flip.commands.judge_distil import distil
from open_instruct_flip.commands.options import config_options
from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.judge_training.config import JudgeTrainingConfig


@click.group()
def judge() -> None:
    """Judge models of one's own."""


judge.add_command(distil)


@judge.command()
@click.argument("data")
@click.option(
    "--decontaminate", multiple=True, help="Benchmark file, folder or hub name to keep away from; may be repeated."
)
@click.option(
    "--decontaminate_ngram",
    type=click.IntRange(1),
    default=BuildConfig.decontaminate_ngram,
    show_default=True,
    help="Words in a row that a row must not share with one.",
)
@config_options(config=JudgeTrainingConfig)
def train(data: str, decontaminate: tuple[str, ...], decontaminate_ngram: int, config: JudgeTrainingConfig) -> None:
    """Train a model to infer instructions from responses: DATA is chat data with responses in it.

    The judge lies in OUT/judge, with a model card. `flip serve judge OUT/judge` serves it. A run that was killed goes
    on with the same command.
    """
    contaminated = _in_benchmarks(decontaminate, decontaminate_ngram)
    from open_instruct_flip.judge_training.card import measures_table
    from open_instruct_flip.judge_training.train import train_judge

    outcome = train_judge(
        data,
        config,
        contaminated=contaminated,
        benchmarks=decontaminate,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(measures_table(outcome))
    for name, change, error in outcome.fallen():
        click.echo(f"flip: warning: {name} is below the base's: {change:+.3f} ± {error:.3f}", err=True)
    if outcome.after[config.best_by] <= outcome.before[config.best_by]:
        click.echo(f"flip: warning: {config.best_by}, by which it was chosen, is no better than the base's", err=True)
    click.echo(f"serve it with: flip serve judge {config.out}/judge")


def _in_benchmarks(names: tuple[str, ...], ngram: int) -> Callable[[str], bool] | None:
    if not names:
        return None
    from open_instruct_flip.data.decontaminate import Benchmarks

    return Benchmarks.from_files(names, ngram).contain
