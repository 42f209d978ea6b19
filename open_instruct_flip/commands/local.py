"""`flip local`: train against a judge on this machine, and make the models for it."""

from __future__ import annotations

from pathlib import Path

import click

from open_instruct_flip.commands.options import config_options
from open_instruct_flip.local.build_config import ModelsConfig
from open_instruct_flip.local.config import LocalConfig


@click.group()
def local() -> None:
    """The world without a GPU: small models, a small world of instructions, real GRPO."""


@local.command("train")
@config_options(config=LocalConfig)
def train_policy(config: LocalConfig) -> None:
    """Train the local policy with TRL's GRPOTrainer against a judge server on this machine."""
    from open_instruct_flip.local.run import train_locally

    result = train_locally(config)
    click.echo(
        f"{config.judge}: reward {result.reward_first:.2f} -> {result.reward_last:.2f}, held-out true rate "
        f"{result.heldout_before:.2f} -> {result.heldout_after:.2f} in {config.steps} steps"
    )
    click.echo(f"run folder: {result.run_dir}")


@local.command("build-models")
@config_options(config=ModelsConfig)
def build_models(config: ModelsConfig) -> None:
    """Make the judge and the policy from nothing."""
    from open_instruct_flip.local.build import build_models as build

    report = build(config, say=lambda line: click.echo(line, err=True))
    for name, value in report.items():
        click.echo(f"{name}: {value:.3f}")


@local.command("write-dataset")
@click.argument("folder", type=click.Path(path_type=Path))
def write_dataset(folder: Path) -> None:
    """Write the world's instructions to FOLDER as an RLVR dataset, train.jsonl and test.jsonl."""
    from open_instruct_flip.local.dataset import write_dataset as write

    train_rows, test_rows = write(folder)
    click.echo(f"{folder}: {train_rows} training and {test_rows} held-out instructions")
