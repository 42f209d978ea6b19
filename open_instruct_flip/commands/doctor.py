"""`flip doctor`: whether this machine, the judge and Open Instruct are ready."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options, with_judge_options

if TYPE_CHECKING:
    from open_instruct_flip.doctor import Check

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of what was looked at")
@click.option("--judge", help="Judge to try the model as.  [default: flip; likelihood in this process]")
@config_options(client=ClientConfig)
@with_judge_options
def doctor(client: ClientConfig, as_json: bool, judge: str | None, judge_options: Mapping[str, Any]) -> int:
    """Look at versions, judge, limits, GPU, Open Instruct and W&B; exit code 1 when something fails."""
    from rich.console import Console

    from open_instruct_flip.doctor import examine

    with Console(stderr=True).status("looking"):
        checks = list(examine(client, judge, judge_options))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        _print_table(checks)
    return int(any(check.state == "fail" for check in checks))


def _print_table(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("what", "state", show_lines=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for check in checks:
        found, remedy = (escape(" ".join(text.split())) for text in (check.found, check.remedy))
        table.add_row(check.subject, f"[{COLORS[check.state]}]{check.state}[/]", found, remedy)
    Console().print(table)
