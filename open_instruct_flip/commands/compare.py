"""`flip compare`: the reward curves of several runs, as a picture, a page and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options, with_judge_options
from open_instruct_flip.errors import UsageError

if TYPE_CHECKING:
    from open_instruct_flip.compare.run import Run
    from open_instruct_flip.compare.summary import SummaryLine
    from open_instruct_flip.compare.verdicts import Verdict


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/compare"),
    show_default=True,
    help="Folder for the pictures, the page and the aligned curves",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    help="Steps of the smoothing window, 1 for none; default: a tenth of a run, at most 101",
)
@click.option(
    "--heldout",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSONL of held-out prompts, or of each run's responses; scores the final policies under the same judges",
)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="NAME",
    help="Judge of the final policies, several times for several; default: flip and pointwise",
)
@click.option(
    "--max_new_tokens",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Tokens a final policy may write per held-out prompt",
)
@click.option("--wandb_report", is_flag=True, help="Also create a W&B report that overlays the runs (online runs only)")
@config_options(client=ClientConfig)
@with_judge_options
def compare(
    runs: tuple[str, ...],
    out: Path,
    window: int | None,
    heldout: Path | None,
    judges: tuple[str, ...],
    max_new_tokens: int,
    wandb_report: bool,
    client: ClientConfig,
    judge_options: Mapping[str, Any],
) -> None:
    """Compare the curves of several runs.

    A RUN is a folder of a local run, a trainer's checkpoint folder, an offline W&B run folder, or an online W&B run
    entity/project/run. The last line printed is the path of the picture.
    """
    from open_instruct_flip.compare.comparison import write_comparison
    from open_instruct_flip.compare.sources import read_runs
    from open_instruct_flip.compare.summary import check_shared, default_window, summarize

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    if judges and not heldout:
        raise UsageError("--judge names who judges the --heldout prompts: give that file too")
    read = read_runs(runs)
    check_shared(read)
    smoothing = window or default_window(read)
    verdicts = _judge_policies(read, heldout, max_new_tokens, judges, judge_options, client) if heldout else []
    lines = summarize(read, smoothing)
    files = write_comparison(out, read, lines, verdicts, smoothing)
    _print_tables(read, lines, verdicts, smoothing)
    if wandb_report:
        from open_instruct_flip.compare.wandb_report import create_report

        click.echo(f"W&B report: {create_report(read)}")
    click.echo(f"page: {files.page}")
    click.echo(files.picture)


def _judge_policies(
    runs: Sequence[Run],
    file: Path,
    max_new_tokens: int,
    judges: Sequence[str],
    options: Mapping[str, Any],
    client: ClientConfig,
) -> list[Verdict]:
    from rich.console import Console

    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.compare.verdicts import (
        DEFAULT_JUDGES,
        make_judges,
        read_heldout,
        responses_of,
        score_policies,
    )

    made = make_judges(judges or DEFAULT_JUDGES, options, client)
    rows = read_heldout(file)
    if any(judge.asks_model for judge in made):
        check_endpoints(client)  # before a policy is loaded
    console = Console(stderr=True)
    with console.status("the final policies respond"):
        answered = {run.name: responses_of(run, rows, max_new_tokens, runs) for run in runs}
    with console.status("the judges score the responses"):
        return score_policies(answered, made)


def _print_tables(runs: Sequence[Run], lines: Sequence[SummaryLine], verdicts: Sequence[Verdict], window: int) -> None:
    from rich.console import Console

    from open_instruct_flip.compare.figure import scales_differ
    from open_instruct_flip.compare.summary import gap_notes
    from open_instruct_flip.compare.tables import summary_table, verdict_table

    for note in [*gap_notes(lines), *(note for run in runs for note in run.notes)]:
        click.echo(f"note: {note}", err=True)
    console = Console()
    console.print(summary_table(lines, window))
    if verdicts:
        console.print(verdict_table(verdicts))
    if scales_differ(runs):
        console.print("Rewards of different judges are not comparable: compare the runs by what none was trained on.")
