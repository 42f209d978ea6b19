"""A W&B report that overlays online runs, made with wandb-workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from open_instruct_flip.compare.metrics import known_metrics
from open_instruct_flip.compare.run import Run
from open_instruct_flip.compare.sources import ONLINE_RUN
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError
from open_instruct_flip.page.style import line_style


def create_report(runs: Sequence[Run]) -> str:
    """Create the report in the first run's project, and return its URL.

    Raises:
        UsageError: A run is not an online one.
        MissingDependencyError: wandb-workspaces is not installed.
        FlipError: The server refused the report, or can't be reached.
    """
    report = build_report(runs)
    try:
        report.save()
    except Exception as error:  # wandb-workspaces documents no errors of its own, and raises those of several libraries
        raise FlipError(f"W&B did not save the report: {error}") from error
    return str(report.url)


def build_report(runs: Sequence[Run]) -> Any:
    """The report, not yet saved: one panel per metric, one run set per project, the colours of the picture."""
    for run in runs:
        if not ONLINE_RUN.fullmatch(run.source) or not run.logged_as:
            raise UsageError(f"a W&B report overlays online runs (entity/project/run); {run.source} is none")
    try:
        from wandb_workspaces.reports import v2 as reports
    except ImportError:
        raise MissingDependencyError("--wandb_report needs wandb-workspaces: pip install wandb-workspaces") from None
    panels: list[Any] = [
        reports.LinePlot(
            title=metric.title,
            x=runs[0].logged_as["step"],
            title_y=metric.unit or None,
            y=_logged_as(runs, metric.name),
            smoothing_type="average",
            smoothing_show_original=True,
        )
        for metric in known_metrics(runs)
    ]
    entity, project, _ = runs[0].source.split("/")
    return reports.Report(
        entity=entity,
        project=project,
        title=f"Reward curves: {', '.join(run.name for run in runs)}",
        description="Rewards of different judges are on different scales: compare them within a run only.",
        blocks=[reports.PanelGrid(runsets=_run_sets(reports, runs), panels=panels)],
    )


def _logged_as(runs: Sequence[Run], metric: str) -> list[Any]:
    return sorted({run.logged_as[metric] for run in runs if metric in run.logged_as})


def _run_sets(reports: Any, runs: Sequence[Run]) -> list[Any]:
    by_project: dict[tuple[str, str], dict[str, Any]] = {}
    for index, run in enumerate(runs):
        entity, project, run_id = run.source.split("/")
        settings = reports.RunSettings(color=line_style(index)["color"])
        by_project.setdefault((entity, project), {})[run_id] = settings
    return [
        reports.Runset(
            entity=entity, project=project, name=project, filters=f"ID in {sorted(settings)}", run_settings=settings
        )
        for (entity, project), settings in by_project.items()
    ]
