"""A table of samples in W&B: instruction, response, what the judge inferred, and the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.integrations.open_instruct.group import JudgedGroup

SAMPLES_KEY = "flip/samples"
COLUMNS = ["instruction", "response", "inferred_instruction", "f1", "reward", "copy_rate", "failure"]
MAX_CHARS = 4000


@dataclass(frozen=True, repr=False)
class Samples:
    """Rows of one group on their way to the tracker.

    Of the metrics of a step's groups, Open Instruct averages numbers and joins lists; of any other value it keeps
    the last. That is what a table wants.
    """

    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, group: JudgedGroup) -> Samples:
        """One row per sample, long texts cut. `reward` is what the optimiser gets, `f1` the similarity behind it, which
        a copy guard may have scaled down.
        """
        columns = zip(group.responses, group.rewards, group.scores, strict=True)
        return cls(
            tuple(
                (
                    group.instruction[:MAX_CHARS],
                    response[:MAX_CHARS],
                    (reward.inferred_instruction or "")[:MAX_CHARS],
                    reward.score if group.measure else None,
                    score,
                    reward.copy_rate,
                    None if reward.error is None else f"{reward.error}: {reward.detail}",
                )
                for response, reward, score in columns
            )
        )

    def __repr__(self) -> str:
        return f"{len(self.rows)} samples"


def log_tables(every: int) -> None:
    """Have W&B log the samples of every `every`-th training step as a table, and drop the others.

    Called in the driver, the only process that logs, once `wandb.init` has put `wandb.log` in place.
    """
    import wandb

    if not hasattr(wandb.log, "logs_flip_samples"):
        wandb.log = _with_tables(wandb.log, wandb.Table, every)


def _with_tables(log: Callable[..., Any], table: Callable[..., Any], every: int) -> Callable[..., Any]:
    def log_with_tables(data: dict[str, Any], step: int | None = None, *args: Any, **kwargs: Any) -> Any:
        due = every > 0 and (step is None or (step - 1) % every == 0)
        shown = {}
        for key, value in data.items():
            if not isinstance(value, Samples):
                shown[key] = value
            elif due:
                shown[key] = table(columns=COLUMNS, data=[list(row) for row in value.rows])
        return log(shown, step, *args, **kwargs)

    log_with_tables.logs_flip_samples = True  # type: ignore[attr-defined]  # marks the function
    return log_with_tables
