"""`flip eval advise`: which judge to train with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from open_instruct_flip.commands.eval_options import result_folders
from open_instruct_flip.errors import UsageError


@click.command()
@result_folders
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON")
def advise(folders: tuple[Path, ...], as_json: bool) -> None:
    """Say which judge to train with, from the results in DIR..., and why.

    A DIR is a folder of `flip eval run` or `flip eval attacks`. Where intervals overlap there is no verdict. A judge
    that stands in two folders is shown with the folder's name.
    """
    from open_instruct_flip.eval.advise import advise as advise_on
    from open_instruct_flip.eval.advise import read_folders
    from open_instruct_flip.eval.summary import SUMMARY

    read = read_folders(folders)
    if not any(one.summary for one in read):
        raise UsageError(f"none of the folders holds a {SUMMARY}; give one that `flip eval run` finished")
    found = advise_on(read)
    if as_json:
        click.echo(json.dumps([asdict(advice) for advice in found], indent=1))
        return
    for advice in found:
        click.echo(f"{advice.benchmark}: {f'train with {advice.judge}, ' if advice.judge else ''}{advice.reason}.")
        for case in advice.cases:
            click.echo(f"  {case.judge}")
            for word in case.words():
                click.echo(f"    {word}")
