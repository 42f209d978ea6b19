"""`flip eval report`: the results of evaluations as one page."""

from __future__ import annotations

from pathlib import Path

import click

from open_instruct_flip.commands.eval_options import result_folders
from open_instruct_flip.errors import UsageError


@click.command()
@result_folders
@click.option("--out", type=click.Path(path_type=Path), help="The page; default: report.html in the first DIR")
def report(folders: tuple[Path, ...], out: Path | None) -> None:
    """Write the results in DIR... as one page that needs no network.

    A DIR is a folder that `flip eval` wrote. The page has tables, attacks and Best-of-N curves where DIR has them, and
    every judged item to search and read. The last line printed is its path.
    """
    from open_instruct_flip.eval.judgements import read_results
    from open_instruct_flip.eval.report.page import report_html

    page = out or folders[0] / "report.html"
    if page.is_dir():
        raise UsageError(f"--out {page} is a folder; name a file, such as {page / 'report.html'}")
    html = report_html(folders, read_results(folders))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, "utf-8")
    click.echo(page)
