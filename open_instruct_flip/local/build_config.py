"""Settings of the local models' making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from open_instruct_flip.errors import UsageError


@dataclass(frozen=True)
class ModelsConfig:
    """How long the local models are trained.

    Raises:
        UsageError: A number is out of range.
    """

    out: str = field(
        default="runs/local-models", metadata={"help": "Folder for judge/, policy/, esfp/ and report.json"}
    )
    only: Literal["judge", "policy", "esfp"] | None = field(
        default=None,
        metadata={"help": "Make this model alone; judge and policy then take the tokenizer of those that ship"},
    )
    seed: int = field(default=0, metadata={"help": "Seed of weights and examples"})
    judge_short_steps: int = field(default=2000, metadata={"help": "Steps of the judge on short prompts"})
    judge_steps: int = field(default=1200, metadata={"help": "Steps of the judge on this package's prompts"})
    judge_score_steps: int = field(default=800, metadata={"help": "Further steps of the judge, mostly on scores"})
    policy_steps: int = field(default=1000, metadata={"help": "Steps of the policy"})
    esfp_pairs: int = field(default=25_000, metadata={"help": "Pairs of responses that the esfp judge's model sees"})
    batch_size: int = field(default=64, metadata={"help": "Examples per step"})
    share_of_scores: float = field(default=0.6, metadata={"help": "Share of the judge's examples that ask for a score"})
    policy_keep: float = field(
        default=0.1, metadata={"help": "Probability that the policy is shown a constraint kept, and not its habit"}
    )
    evaluated: int = field(default=300, metadata={"help": "Held-out instructions that the report is made of"})

    def __post_init__(self) -> None:
        steps = ("judge_short_steps", "judge_steps", "judge_score_steps", "policy_steps")
        for name, lowest in [*((name, 1) for name in (*steps, "batch_size")), ("evaluated", 2), ("esfp_pairs", 2)]:
            if getattr(self, name) < lowest:
                raise UsageError(f"--{name} must be at least {lowest}, got {getattr(self, name)}")
        for name in ("share_of_scores", "policy_keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} must be 0 to 1, got {getattr(self, name)}")

    def makes(self, name: str) -> bool:
        """Whether this model is made."""
        return self.only in (None, name)
