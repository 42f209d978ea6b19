"""`flip local`: train against a judge on this machine, and make the models for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from open_instruct_flip.commands.options import config_options
from open_instruct_flip.esfp.config import TrainConfig
from open_instruct_flip.local.build_config import ModelsConfig
from open_instruct_flip.local.config import LocalConfig
from open_instruct_flip.local.examples import user_turn
from open_instruct_flip.local.masked import MAX_LENGTH, Preference


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
    """Make the judge, the esfp judge's model and the policy from nothing."""
    from open_instruct_flip.local.build import build_models as build

    def say(line: str) -> None:
        click.echo(line, err=True)

    def train_masked(pairs: Sequence[Preference], base: Path, out: Path) -> float:
        return _trained_accuracy(pairs, esfp_config(base, out, config.seed), say)

    for name, value in build(config, train_masked, say).items():
        click.echo(f"{name}: {value:.3f}")


def esfp_config(base: Path, out: Path, seed: int) -> TrainConfig:
    """How the local world's esfp model is trained: from random weights, each pair seen once."""
    return TrainConfig(
        str(base),
        str(out),
        explanations=False,
        max_length=MAX_LENGTH,
        margin=1.0,
        epochs=1.0,
        batch_size=32,
        learning_rate=2e-3,
        heldout=0.01,
        patience=10,
        evals_per_epoch=10,
        seed=seed,
    )


def _trained_accuracy(pairs: Sequence[Preference], config: TrainConfig, say: Callable[[str], None]) -> float:
    from open_instruct_flip.esfp.pairs import Pair
    from open_instruct_flip.esfp.training import train_esfp

    told = [Pair((user_turn(pair.instruction),), pair.chosen, pair.rejected) for pair in pairs]
    return train_esfp(told, config, say).accuracy


@local.command("write-dataset")
@click.argument("folder", type=click.Path(path_type=Path))
def write_dataset(folder: Path) -> None:
    """Write the world's instructions to FOLDER as an RLVR dataset, train.jsonl and test.jsonl."""
    from open_instruct_flip.local.dataset import write_dataset as write

    train_rows, test_rows = write(folder)
    click.echo(f"{folder}: {train_rows} training and {test_rows} held-out instructions")
