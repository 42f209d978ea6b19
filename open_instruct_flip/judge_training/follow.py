"""Follows a judge's training: its history, a line on the terminal now and then, and a last measure at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from open_instruct_flip.compare.history import RunHistory
from open_instruct_flip.judge_training.measures import MEASURES

LOGGED = ("loss", "grad_norm", "learning_rate")


class Follower(TrainerCallback):
    """Writes `run.json` and `history.jsonl` as `flip compare` reads them.

    Args:
        run_dir: The run's folder.
        seed: The run's seed.
        settings: What the run depends on.
        say: Takes a line for the user.
    """

    def __init__(self, run_dir: Path, seed: int, settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._history = RunHistory(run_dir, judge="flip", seed=seed, config=settings)
        self._say = say
        self._seen: tuple[float, float] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_evaluate |= state.global_step == state.max_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "eval_f1" in logs:
            measured = {name: logs[f"eval_{name}"] for name in MEASURES}
            self._history.log(state.global_step, heldout_loss=logs.get("eval_loss"), **measured)
            self._say(f"step {state.global_step}/{state.max_steps}: " + _figures(measured))
        elif "loss" in logs:
            rate = self._tokens_per_s(state.num_input_tokens_seen)
            self._history.log(state.global_step, tokens_per_s=rate, **{name: logs.get(name) for name in LOGGED})
            speed = "" if rate is None else f", {rate:.0f} tokens/s"
            self._say(f"step {state.global_step}/{state.max_steps}: loss {logs['loss']:.3f}{speed}")

    def _tokens_per_s(self, num_tokens: int) -> float | None:
        """Tokens trained on per second since the last time; None at first, and where measuring lay between."""
        now, before = (time.monotonic(), num_tokens), self._seen
        self._seen = now
        return None if before is None else (now[1] - before[1]) / (now[0] - before[0])

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._seen = None


def _figures(measured: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in measured.items())
