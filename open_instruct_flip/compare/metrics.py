"""The metrics that runs are compared by, and what each trainer calls them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from open_instruct_flip.compare.run import Row, Run, as_number, last_trajectory


@dataclass(frozen=True)
class Metric:
    """One compared metric.

    Attributes:
        name: Its key in a run's rows.
        title: Its name in figures and tables.
        unit: What its values are counted in; empty for plain numbers.
        share: Whether its values lie in [0, 1] (a reward may: that depends on the run).
        better: Which end is good; None where neither is, so that no best value is shown.
        aliases: What trainers log it as, `train/` prefix left off; `*` stands for a judge's name. The first that is
            present counts.
    """

    name: str
    title: str
    unit: str
    share: bool
    better: Literal["higher", "lower"] | None
    aliases: tuple[str, ...]

    def format(self, value: float) -> str:
        """A value as figures and tables show it, without its unit."""
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else str(value)
        if self.name == "judge_failure_rate":
            return f"{value:.1%}"
        if self.share or 1 <= abs(value) < 10:
            return f"{value:.2f}"
        if abs(value) >= 10:
            return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
        return f"{value:#.3g}" if value else "0"


METRICS = (
    Metric(
        "reward", "Reward", "", True, "higher", ("reward", "objective/general-*_reward", "objective/verifiable_reward")
    ),
    Metric("true_rate", "True rate", "", True, "higher", ("true_rate", "rewards/true_rate/mean")),
    Metric("heldout_true_rate", "True rate, held-out", "", True, "higher", ("heldout_true_rate",)),
    Metric("heldout_accuracy", "Accuracy, held-out", "", True, "higher", ("heldout_accuracy",)),
    Metric("heldout_loss", "Loss, held-out", "", False, "lower", ("heldout_loss",)),
    Metric("f1", "Instruction F1", "", True, "higher", ("f1", "flip/f1_mean", "rewards/f1/mean")),
    Metric(
        "copy_rate",
        "Copied from the instruction",
        "",
        True,
        "lower",
        ("copy_rate", "flip/instruction_copy_rate", "*/copy_rate"),
    ),
    Metric(
        "overlap",
        "Overlap with the instruction",
        "",
        True,
        None,
        ("overlap", "flip/instruction_overlap", "*/overlap"),
    ),
    Metric(
        "completion_length",
        "Completion length",
        "tokens",
        False,
        None,
        ("completion_length", "completions/mean_length", "val/sequence_lengths"),
    ),
    Metric("kl", "KL to reference", "nats/token", False, None, ("kl", "objective/kl2_avg")),
    Metric("entropy", "Policy entropy", "nats/token", False, None, ("entropy", "policy/entropy_avg")),
    Metric(
        "judge_latency_s",
        "Judge latency",
        "s",
        False,
        "lower",
        ("judge_latency_s", "flip/judge_latency_s", "*/judge_latency_s"),
    ),
    Metric(
        "judge_failure_rate",
        "Judge failures",
        "",
        True,
        "lower",
        ("judge_failure_rate", "flip/failure_rate", "*/failure_rate"),
    ),
)

# Neither `_step` (it advances at every wandb.log) nor Open Instruct's `global_step` (it counts episodes) is a step.
STEP_KEYS = ("training_step", "train/global_step", "step")
SECONDS_KEYS = ("wall_time_s", "_runtime")


def known_metrics(runs: Iterable[Run]) -> list[Metric]:
    """The metrics that at least one run knows, in the order of `METRICS`."""
    known = {name for run in runs for name in run.metrics()}
    return [metric for metric in METRICS if metric.name in known]


def canonical_rows(logged: Iterable[Mapping[str, Any]]) -> tuple[tuple[Row, ...], dict[str, str]]:
    """Turn a trainer's log records into rows under this module's names.

    A record without a step belongs to the step last seen; records before the first step are left out.

    Args:
        logged: Records in the order they were logged. Whatever is no number in them is left out.

    Returns:
        The rows of the run's last trajectory, and the key that the step and each metric found was logged as.
    """
    rows: list[Row] = []
    logged_as: dict[str, str] = {}
    step: int | None = None
    records = [_numbers(record) for record in logged]
    keys = _find_metrics({key for record in records for key in record})
    for record in records:
        for key in _present(STEP_KEYS, record):
            step = int(record[key])
            logged_as["step"] = key
        if step is None:
            continue
        row: Row = {"step": step}
        for key in _present(SECONDS_KEYS, record):
            row["wall_time_s"] = record[key]
        found = {name: key for name, key in keys.items() if key in record}
        rows.append(row | {name: record[key] for name, key in found.items()})
        logged_as = found | logged_as
    return last_trajectory(rows), logged_as


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: number for key, value in record.items() if (number := as_number(value)) is not None}


def _present(keys: Sequence[str], record: Mapping[str, float]) -> list[str]:
    return [key for key in keys if math.isfinite(record.get(key, math.nan))][:1]


def _find_metrics(logged: Iterable[str]) -> dict[str, str]:
    """The key of each metric, one for a whole history: steps that lack it have no value, not another one."""
    keys = {key.removeprefix("train/"): key for key in sorted(logged)}
    found: dict[str, str] = {}
    for metric in METRICS:
        for alias in metric.aliases:
            if key := _match(alias, keys):
                found[metric.name] = key
                break
    return found


def _match(alias: str, keys: Mapping[str, str]) -> str | None:
    if "*" not in alias:
        return keys.get(alias)
    return next((keys[key] for key in sorted(keys) if fnmatchcase(key, alias)), None)
