"""`flip judge distil`: a strong judge's inferences, to train a small one on."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.judge_training.distil_config import DistilConfig
from open_instruct_flip.judges.config import ReplyConfig

if TYPE_CHECKING:
    from open_instruct_flip.judge_training.distil import Distilled, Teacher
    from open_instruct_flip.judge_training.unlabelled import Unlabelled
    from open_instruct_flip.judging.growing import GrowingFile
    from open_instruct_flip.rewards import Usage


@click.command()
@click.argument("data")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@config_options(config=DistilConfig, reply=ReplyConfig, client=ClientConfig)
def distil(data: str, out: Path, config: DistilConfig, reply: ReplyConfig, client: ClientConfig) -> int:
    """Have a strong judge infer the instructions of the responses in DATA, into pairs in OUT for `flip judge train`.

    Of each row the first response counts: a `response`, `responses`, `output` or `text`, or turns that end with the
    assistant's; an instruction that it has is not shown. What that takes is counted and told first. The same command
    goes on where an interrupted one stopped, and asks again for what failed.
    """
    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.judge_training.distil import Teacher, key_of_pair, without_pair
    from open_instruct_flip.judging.growing import GrowingFile, check_name, keys_in
    from open_instruct_flip.judging.identity import check_cache, judge_identity, settled

    teacher = Teacher.from_options({**asdict(reply), "flip_target": config.flip_target}, client)
    check_cache(teacher)
    check_name(out)
    key = partial(key_of_pair, target=config.flip_target)
    read = _unlabelled(data, config)
    missing = without_pair(read, keys_in(out, key))
    reports = [] if config.dry_run else check_endpoints(client)
    _tell_cost(missing, teacher, config)
    if config.dry_run:
        return 0
    if missing and not config.yes:
        _agreed()
    teacher = settled(teacher)
    with GrowingFile(out, judge_identity(teacher, reports), key) as pairs:
        _distil(without_pair(missing, pairs), pairs, teacher, config)
    return 0


def _unlabelled(data: str, config: DistilConfig) -> list[Unlabelled]:
    from open_instruct_flip.judge_training.unlabelled import read_unlabelled
    from open_instruct_flip.rows.files import RowSource

    rows = RowSource.find(data, config.split).rows()
    left_out: Counter[str] = Counter()
    found = read_unlabelled(rows, config.flip_target, left_out, skip_bad_rows=config.skip_bad_rows)
    read = list(islice(found, config.limit))
    if not read:
        raise UsageError(f"{data} holds no response")
    for reason, count in left_out.items():
        click.echo(f"left out: {count:,} rows {reason}", err=True)
    return read


def _tell_cost(responses: list[Unlabelled], teacher: Teacher, config: DistilConfig) -> None:
    """Say what asking about these responses would take, before anything is sent."""
    from open_instruct_flip.judge_training.distil import count
    from open_instruct_flip.judging.counting import told

    usage = asyncio.run(count(responses, teacher))
    click.echo(f"{len(responses):,} responses to ask about: {told(usage, config.prices())}", err=True)


def _cost(usage: Usage, config: DistilConfig) -> str:
    """What tokens cost, in words, where it is known what a token does."""
    prices = config.prices()
    return "" if prices is None else f"; cost: {usage.cost(prices):,.4f}"


def _agreed() -> None:
    """Ask whether to go on; where nobody can be asked, that has to be said by a flag."""
    if not sys.stdin.isatty():
        raise UsageError("this is what it takes; --yes sends the requests")
    click.confirm("send the requests?", abort=True, err=True)


def _distil(responses: list[Unlabelled], pairs: GrowingFile, teacher: Teacher, config: DistilConfig) -> None:
    from rich.console import Console

    from open_instruct_flip.judge_training.distil import distil as distil_pairs
    from open_instruct_flip.judging.progress import shown

    with shown(len(responses), Console(stderr=True)) as watch:
        done = asyncio.run(distil_pairs(responses, pairs, teacher, config, watch))
    _tell(done, pairs.path, config)
    if done.failures:
        told = (
            f"{done.num_failures:,} responses have no pair; the first: {done.failures[0]}; the same command asks again"
        )
        if done.failure_rate > config.max_failure_rate:
            raise FlipError(told)
        click.echo(f"flip: warning: {told}", err=True)
    click.echo(f"train on them with: flip judge train {pairs.path} --base MODEL --out DIR")


def _tell(done: Distilled, path: Path, config: DistilConfig) -> None:
    """Say what came of it, how much of it only repeats, and how well the judge infers where the truth is known."""
    taken = done.usage
    click.echo(
        f"{path}: {done.pairs:,} pairs, {done.kept:,} of them from before; this run took {taken.requests:,} requests, "
        f"{taken.prompt_tokens:,} prompt and {taken.completion_tokens:,} reply tokens{_cost(taken, config)}"
    )
    if done.num_copied:
        click.echo(
            f"{done.num_copied:,} of the new ones only repeat their response, and `flip judge train` leaves them out"
        )
    if len(done.overlaps) > 1:
        error = stdev(done.overlaps) / len(done.overlaps) ** 0.5
        click.echo(
            f"{len(done.overlaps):,} of the new ones have an instruction of their own, with which the inferred one has "
            f"an F1 of {fmean(done.overlaps):.2f} ± {error:.2f}"
        )
