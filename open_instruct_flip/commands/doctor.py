"""`flip doctor`: whether this machine, the judge and Open Instruct are ready."""

from __future__ import annotations

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@config_options(client=ClientConfig)
def doctor(client: ClientConfig) -> int:
    """Look at versions, judge, limits, GPU, Open Instruct and W&B; exit code 1 when something fails."""
    from rich.console import Console
    from rich.table import Table

    from open_instruct_flip.doctor import examine

    console = Console()
    with console.status("looking"):
        findings = list(examine(client))
    table = Table("what", "state", show_lines=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for finding in findings:
        state = f"[{COLORS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.subject, state, *map(_plain, (finding.found, finding.remedy)))
    console.print(table)
    return int(any(finding.state == "fail" for finding in findings))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split()))
