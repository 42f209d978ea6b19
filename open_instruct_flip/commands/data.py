"""`flip data`: build, validate and convert RLVR datasets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from open_instruct_flip.commands.options import config_options
from open_instruct_flip.conversation import TARGETS, Target
from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.labels import FLIP_LABEL, known_labels
from open_instruct_flip.errors import UsageError

if TYPE_CHECKING:
    from open_instruct_flip.data.manifest import Manifest
    from open_instruct_flip.data.validate import DatasetFinding
    from open_instruct_flip.rows.files import Row

ROWS_SHOWN = 12
ROWS_PER_UPDATE = 100


@click.group()
def data() -> None:
    """Build, validate and convert datasets in Open Instruct's RLVR schema."""


@data.command()
@click.option("--source", default="wildchat", show_default=True, help='"wildchat", or the hub name of another dataset.')
@click.option("--input", "inputs", multiple=True, help="Local file or folder instead of --source; may be repeated.")
@click.option("--split", default="train", show_default=True, help="Split of a folder or hub dataset.")
@click.option("--revision", help="Commit, branch or tag of the hub dataset; recorded in the manifest.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for NAME_flip and NAME.")
@click.option(
    "--decontaminate", multiple=True, help="Benchmark file, folder or hub name to keep away from; may be repeated."
)
@click.option("--overwrite", is_flag=True, help="Replace datasets that exist.")
@click.option("--push_to_hub", help="Upload as this hub dataset, and as the same name with _flip; private.")
@config_options(config=BuildConfig)
def build(
    source: str,
    inputs: tuple[str, ...],
    split: str,
    revision: str | None,
    out: Path,
    decontaminate: tuple[str, ...],
    overwrite: bool,
    push_to_hub: str | None,
    config: BuildConfig,
) -> None:
    """Filter chat data and write it twice: labelled for FLIP and for the LLM judge."""
    from open_instruct_flip.data.build import build as build_datasets
    from open_instruct_flip.data.build import open_source, shortfall
    from open_instruct_flip.data.publish import publish

    about, rows, count = open_source(source, inputs, split, revision)
    with _progress(rows, count) as counted:
        folders, manifest = build_datasets(
            counted, about, out, config, decontaminate=decontaminate, overwrite=overwrite
        )
    _print_counts(manifest)
    for folder in folders:
        click.echo(folder)
    if warning := shortfall(manifest, config):
        click.echo(f"flip: warning: {warning}", err=True)
    if push_to_hub:
        for folder, name in zip(folders, (f"{push_to_hub}_flip", push_to_hub), strict=True):
            click.echo(publish(folder, name))


@data.command()
@click.argument("path_or_name")
@click.option("--split", help="Split of a folder or hub dataset; train when not given.")
@click.option("--label", "labels", multiple=True, help="Label of a verifier of your own; may be repeated.")
@click.option("--remap_verifier", help="Open Instruct's option, old=new: rows labelled old go to verifier new.")
@click.option("--tokenizer", help="The policy's tokenizer, a folder or hub name.")
@click.option("--max_prompt_token_length", type=click.IntRange(min=1), help="Tokens a prompt may have.")
@click.option(
    "--flip_target", type=click.Choice(TARGETS), default="last_user", show_default=True, help="What FLIP infers."
)
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
def validate(
    path_or_name: str,
    split: str | None,
    labels: tuple[str, ...],
    remap_verifier: str | None,
    tokenizer: str | None,
    max_prompt_token_length: int | None,
    flip_target: Target,
    strict: bool,
    as_json: bool,
) -> int:
    """Check a dataset before training. Exit code 1 when training would lose rows or rewards."""
    from open_instruct_flip.data.validate import validate_dataset

    if (tokenizer is None) != (max_prompt_token_length is None):
        raise UsageError("--tokenizer and --max_prompt_token_length go together")
    findings = validate_dataset(
        path_or_name,
        verifier_labels=known_labels() | set(labels),
        remap_verifier=remap_verifier,
        tokenizer=tokenizer,
        max_prompt_token_length=max_prompt_token_length,
        flip_target=flip_target,
        split=split,
    )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    elif findings:
        _print_findings(findings)
    else:
        click.echo(f"{path_or_name}: nothing to complain about")
    return int(any(strict or finding.severity == "error" for finding in findings))


@data.command()
@click.argument("path_or_name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .jsonl or .parquet file.")
@click.option("--label", default=FLIP_LABEL, show_default=True, help="Verifier label of every row.")
@click.option("--first_turn", is_flag=True, help="End prompts with the first user turn instead of the last one.")
@click.option("--split", default="train", show_default=True, help="Split of a folder or hub dataset.")
@click.option("--skip_bad_rows", is_flag=True, help="Leave out rows that fit no known shape.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def convert(
    path_or_name: str, out: Path, label: str, first_turn: bool, split: str, skip_bad_rows: bool, overwrite: bool
) -> None:
    """Convert prompt, instruction, messages, Alpaca, ShareGPT or WildChat rows, unfiltered."""
    from open_instruct_flip.data.convert import convert as convert_rows
    from open_instruct_flip.data.prompts import BadRows
    from open_instruct_flip.rows.files import RowSource

    if out.exists() and Path(path_or_name).exists() and out.samefile(path_or_name):
        raise UsageError(f"--out {out} is what is to be converted; give another file")
    bad_rows = BadRows(skip_bad_rows)
    source = RowSource.find(path_or_name, split)
    with _progress(source.rows(), source.num_rows()) as rows:
        count = convert_rows(rows, out, label=label, first_turn=first_turn, bad_rows=bad_rows, overwrite=overwrite)
    for place in bad_rows.named:
        click.echo(f"skipped {place}", err=True)
    click.echo(f"{out}: {count} rows, {bad_rows.count} skipped")


@contextmanager
def _progress(rows: Iterable[Row], total: int | None) -> Iterator[Iterator[Row]]:
    """A bar on the terminal's last line; without a known total it only counts and pulses."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.completed:,.0f} rows"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def counted() -> Iterator[Row]:
            for number, row in enumerate(rows, start=1):
                if number % ROWS_PER_UPDATE == 0:
                    progress.update(task, completed=number)
                yield row

        yield counted()


def _print_counts(manifest: Manifest) -> None:
    from rich.console import Console
    from rich.table import Table

    from open_instruct_flip.data.card import REASONS

    table = Table("reason", "rows", title=f"{manifest.num_rows:,} rows of {manifest.source.name}")
    table.columns[1].justify = "right"
    table.add_row("fit no known shape", f"{manifest.bad_rows:,}")
    for reason, count in manifest.dropped.items():
        table.add_row(REASONS[reason], f"{count:,}")
    table.add_section()
    table.add_row("prompts", f"{manifest.num_prompts:,}")
    Console().print(table)
    for place in manifest.bad_rows_named:
        click.echo(f"skipped {place}", err=True)


def _print_findings(findings: Iterable[DatasetFinding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("severity", "kind", "what", "count", "rows", "in")
    for column in table.columns:
        column.overflow = "fold"  # a name that is cut off names nothing
    for finding in findings:
        shown = ", ".join(map(str, finding.rows[:ROWS_SHOWN])) + (" ..." if len(finding.rows) > ROWS_SHOWN else "")
        color = "red" if finding.severity == "error" else "yellow"
        count = str(len(finding.rows) or "")
        what, place = escape(finding.message), escape(finding.source)
        table.add_row(f"[{color}]{finding.severity}", finding.kind, what, count, shown, place)
    Console().print(table)
