"""Settings of the esfp model's training."""

from __future__ import annotations

from dataclasses import dataclass, field

from open_instruct_flip.checks import check_above_zero, check_zero_or_above
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.esfp.slot import TEMPLATE, TEMPLATE_WITHOUT_EXPLANATION, Slot


@dataclass(frozen=True)
class TrainConfig:
    """How an esfp model is trained.

    Raises:
        UsageError: A number is out of range, or the template is none.
    """

    base: str = field(metadata={"help": "Masked language model to start from: a folder or a hub name"})
    out: str = field(metadata={"help": "Folder for the trained model; its run in the format of `flip compare` in run/"})
    explanations: bool = field(
        default=True, metadata={"help": "Train with the pairs' explanations, which `flip esfp explain` writes"}
    )
    template: str | None = field(
        default=None,
        metadata={"help": "Text with {instruction}, {response}, {mask} and, for explanations, {explanation}"},
    )
    positive: str = field(default="good", metadata={"help": "Words of a good response, with commas; one token each"})
    negative: str = field(default="bad", metadata={"help": "Words of a bad response, likewise"})
    max_length: int = field(default=512, metadata={"help": "Tokens of a filled template"})
    margin: float = field(
        default=0.0,
        metadata={"help": "Also ask for this much more log-odds of the chosen response than of the other; 0 does not"},
    )
    epochs: float = field(default=3.0, metadata={"help": "Times that each pair is seen, at most"})
    batch_size: int = field(default=8, metadata={"help": "Pairs per step"})
    learning_rate: float = field(default=5e-5, metadata={"help": "Highest learning rate of AdamW"})
    heldout: float = field(
        default=0.1, metadata={"help": "Share of the pairs that is held out to stop by, in whole conversations"}
    )
    patience: int = field(
        default=3, metadata={"help": "Evaluations without a smaller held-out loss after which training stops"}
    )
    evals_per_epoch: int = field(default=2, metadata={"help": "Evaluations on the held-out pairs per epoch"})
    seed: int = field(default=0, metadata={"help": "Seed of the split, the order and dropout"})
    device: str = field(default="cpu", metadata={"help": "Where to train: cpu or cuda"})

    def __post_init__(self) -> None:
        check_above_zero(
            self, "epochs", "batch_size", "learning_rate", "heldout", "patience", "evals_per_epoch", "max_length"
        )
        check_zero_or_above(self, "margin")
        if self.heldout >= 1:
            raise UsageError(f"--heldout is a share below 1, got {self.heldout}")
        if self.slot().takes_explanation != self.explanations:
            raise UsageError(
                "the template and the training must agree: --template with {explanation}, or --no_explanations"
            )

    def slot(self) -> Slot:
        """The template and the words."""
        shipped = TEMPLATE if self.explanations else TEMPLATE_WITHOUT_EXPLANATION
        words = [
            tuple(word.strip() for word in side.split(",") if word.strip()) for side in (self.positive, self.negative)
        ]
        return Slot(self.template or shipped, words[0], words[1], self.max_length)
