"""What the commands of `flip eval` share: their arguments and options, and how a benchmark is read by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.commands.options import config_options, with_judge_models, with_judge_options
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig

if TYPE_CHECKING:
    from open_instruct_flip.eval.benchmark import Benchmark
    from open_instruct_flip.eval.items import Item

with_judges = click.option(
    "--judge", "judges", multiple=True, default=("flip",), show_default=True, help="Judge; may be repeated."
)
result_folders = click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


def with_benchmark(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the arguments `name`, `data` and `subsets`."""
    text = "Part of the benchmark; may be repeated. All if not given."
    command = click.option("--subset", "subsets", multiple=True, help=text)(command)
    text = "File, folder or hub dataset of the benchmark; see docs/evaluation.md."
    command = click.option("--data", help=text)(command)
    return click.argument("name", metavar="BENCHMARK")(command)


def with_out(default: str) -> Callable[..., Any]:
    """The option `--out`, a folder; `default` is told as the one where none is given."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=kind, help=f"Folder; {default} if not given.")


def with_judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the arguments `config`, `clients` and `judge_options`."""
    return config_options(config=EvalConfig)(with_judge_models(with_judge_options(command)))


def read_benchmark(
    name: str, data: str | None, subsets: Sequence[str], config: EvalConfig
) -> tuple[Benchmark, list[Item]]:
    """A benchmark with those of its items that are judged.

    Raises:
        UsageError: There is no such benchmark or subset, no data for it, or an item that can't be judged.
    """
    from open_instruct_flip.eval.registry import find_benchmark
    from open_instruct_flip.eval.selection import select

    benchmark = find_benchmark(name)
    source = data or benchmark.default_data
    if source is None:
        raise UsageError(f"{name} needs --data: see docs/evaluation.md for where its files come from")
    if config.split is not None and not benchmark.has_splits:
        raise UsageError(f"{name} is read from files of its own, which have no splits; leave --split out")
    return benchmark, select(benchmark.read(source, config.split), source, subsets, config)
