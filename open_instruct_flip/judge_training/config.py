"""Settings of a judge's training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from open_instruct_flip.checks import check_above_zero
from open_instruct_flip.conversation import Target
from open_instruct_flip.errors import UsageError

LINE_UP = 16
"""Instructions in a line-up of the retrieval measure, the own one included."""

Measure = Literal["f1", "retrieval", "likelihood_gain"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class JudgeTrainingConfig:
    """Which pairs a judge is trained on, how, and what is measured meanwhile."""

    base: str = field(
        default="", metadata={"help": "Model to start from, a folder or a hub name; needs a chat template"}
    )
    out: str = field(default="", metadata={"help": "Folder of the run; the judge is put into its subfolder judge"})
    split: str = field(default="train", metadata={"help": "Split of a folder or hub dataset"})
    num_pairs: int = field(default=10_000, metadata={"help": "Pairs to train on at most, drawn with --seed"})
    heldout: int = field(default=128, metadata={"help": "Pairs to measure on, whose instructions are not trained on"})
    heldout_data: str = field(
        default="", metadata={"help": "Chat data to draw those from, of the kind that will be judged; else from DATA"}
    )
    seed: int = field(default=1, metadata={"help": "Seed of the draw and of the training"})
    flip_target: Target = field(
        default="last_user",
        metadata={"help": "What the judge learns to infer: the last user turn, or the system prompt"},
    )
    negatives: float = field(
        default=0.0,
        metadata={"help": "Spoilt responses to add, as a share of the pairs: see docs/judge-training.md"},
    )
    likelihood_share: float = field(
        default=0.25, metadata={"help": "Share of the pairs that are asked about as the likelihood judge does"}
    )
    prompt_dir: str | None = field(
        default=None, metadata={"help": "Folder of another prompt of the flip judge, which then is served with it too"}
    )
    max_length: int = field(
        default=1024, metadata={"help": "Tokens of an example; longer responses lose their middle, as when judged"}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that fit no known shape"})
    min_agreement: float = field(
        default=0.0,
        metadata={"help": "Least agreement of several inferences, in rows of `flip judge distil` that tell it"},
    )
    license: str = field(default="unknown", metadata={"help": "Licence of DATA, for the model card"})
    full: bool = field(
        default=False, metadata={"help": "Train all weights, not LoRA adapters that are merged at the end"}
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of the adapters, on all linear layers"})
    epochs: float = field(default=1.0, metadata={"help": "Passes over the pairs"})
    batch_size: int = field(default=16, metadata={"help": "Pairs per step"})
    device_batch_size: int = field(default=4, metadata={"help": "Pairs at a time on the device"})
    learning_rate: float | None = field(
        default=None, metadata={"help": "Highest learning rate; 2e-4 for LoRA and 2e-5 for --full when not given"}
    )
    packing: bool = field(default=False, metadata={"help": "Several pairs in one sequence; needs a GPU and flash-attn"})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Less memory, a third more time"})
    device: Literal["auto", "cpu"] = field(default="auto", metadata={"help": "Where to train; auto takes a GPU if any"})
    precision: Precision = field(
        default="auto",
        metadata={"help": "Of the products; auto is bfloat16 on a GPU or a CPU with matrix units for it, else float32"},
    )
    eval_every: int = field(default=50, metadata={"help": "Steps between measures and checkpoints"})
    patience: int = field(default=3, metadata={"help": "Measures without a better one after which training stops"})
    best_by: Measure = field(default="f1", metadata={"help": "The measure that says which checkpoint is kept"})
    max_reply_tokens: int = field(default=96, metadata={"help": "Tokens of a reply when measuring"})
    wandb_project: str = field(default="", metadata={"help": "W&B project to log to; none when empty"})
    restart: bool = field(default=False, metadata={"help": "Throw away the run that the folder holds"})

    def __post_init__(self) -> None:
        for name in ("base", "out"):
            if not getattr(self, name):
                raise UsageError(f"--{name} is needed")
        counts = ("num_pairs", "lora_rank", "batch_size", "device_batch_size", "eval_every", "patience")
        check_above_zero(self, "epochs", "max_reply_tokens", "max_length", *counts)
        if self.learning_rate is not None:
            check_above_zero(self, "learning_rate")
        if self.heldout < LINE_UP:
            raise UsageError(f"--heldout must be at least {LINE_UP}, the size of a line-up; got {self.heldout}")
        for name in ("negatives", "likelihood_share", "min_agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} lies in [0, 1], got {getattr(self, name)}")
        if self.batch_size % self.device_batch_size:
            raise UsageError(
                f"--batch_size {self.batch_size} is no multiple of --device_batch_size {self.device_batch_size}"
            )

    @property
    def peak_learning_rate(self) -> float:
        return self.learning_rate or (2e-5 if self.full else 2e-4)

    def settings(self) -> dict[str, Any]:
        """What the result depends on: a run goes on only with the same."""
        elsewhere = ("out", "restart", "wandb_project", "device", "device_batch_size", "gradient_checkpointing")
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}
