"""Follows a local run: one line of its history per step, held-out evaluations, and progress on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from open_instruct_flip.compare.history import RunHistory
from open_instruct_flip.local import world
from open_instruct_flip.local.build import answers

# What TRL logs, by the name it has in a run's history.
LOGGED = {
    "reward": "reward",
    "reward_std": "reward_std",
    "true_rate": "rewards/true_rate/mean",
    "completion_length": "completions/mean_length",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
}
LINE_EVERY = 10
"""Steps between two lines where the output is no terminal."""


class HistoryCallback(TrainerCallback):
    """Writes the run folder, and shows progress within a `with` block.

    Attributes:
        rewards: Mean reward of each step, NaN where every judgement failed.
        heldout: True rate on held-out instructions, greedy: before training, every `eval_every` steps, at the end.
    """

    def __init__(
        self, run_dir: Path, judge: str, config: Mapping[str, Any], heldout: list[world.Spec], eval_every: int
    ) -> None:
        self.rewards: list[float] = []
        self.heldout: list[float] = []
        self._history = RunHistory(run_dir, judge=judge, seed=config["seed"], config=config)
        self._judge = judge
        self._specs = heldout
        self._eval_every = eval_every
        self._evaluated_at = -1
        self._trainer: Any = None
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()  # it hides the cursor, also where training was interrupted

    def attach(self, trainer: Any) -> None:
        """Take the place of the trainer's own progress output."""
        self._trainer = trainer
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._task = self._progress.add_task(f"GRPO against {self._judge}", total=state.max_steps, figures="")
        self._evaluate(0)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "reward" not in logs:
            return
        row = {name: logs.get(key) for name, key in LOGGED.items()}
        for name in ("copy_rate", "overlap", "judge_latency_s"):
            row[name] = logs.get(f"{self._judge}/{name}")
        row["judge_failure_rate"] = logs.get(f"{self._judge}/failure_rate")
        if row["judge_failure_rate"] == 1.0:
            row["reward"] = row["reward_std"] = None  # nobody gave these
        elif f"{self._judge}/precision" in logs:  # what only token F1 has
            row["f1"] = row["reward"]
        self._history.log(state.global_step, **row)
        self.rewards.append(math.nan if row["reward"] is None else row["reward"])
        self._show(state.global_step, state.max_steps, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._eval_every == 0:
            self._evaluate(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._evaluate(state.global_step)

    def _evaluate(self, step: int) -> None:
        if step == self._evaluated_at:
            return
        self._evaluated_at = step
        responses = answers(self._trainer.model, self._trainer.processing_class, self._specs, sample=False)
        rates = [world.true_rate(spec, response) for spec, response in zip(self._specs, responses, strict=True)]
        self.heldout.append(fmean(rates))
        self._history.log(step, heldout_true_rate=self.heldout[-1])

    def _show(self, step: int, steps: int, logs: Mapping[str, float]) -> None:
        figures = (
            f"reward {logs['reward']:.2f}, true rate {logs['rewards/true_rate/mean']:.2f}, "
            f"held-out {self.heldout[-1]:.2f}, {logs.get('step_time', 0):.1f} s/step"
        )
        self._progress.update(self._task, completed=step, figures=figures)
        if not self._console.is_terminal and (step % LINE_EVERY == 0 or step in (1, steps)):
            left_s = (steps - step) * logs.get("step_time", 0)
            self._console.print(f"step {step}/{steps}: {figures}, {left_s / 60:.0f} min left", soft_wrap=True)
