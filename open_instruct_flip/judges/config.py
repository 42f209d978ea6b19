"""What a judge is asked and how its reply becomes a reward: the one place where a judge option is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from open_instruct_flip.conversation import Target
from open_instruct_flip.errors import UsageError

SimilarityName = Literal["f1", "precision", "recall", "bleu", "rouge_l", "chrf", "embedding"]


@dataclass(frozen=True)
class JudgeConfig:
    """Prompt, sampling and scoring of a judge. Plain values only: it is pickled into workers."""

    flip_target: Target = field(
        default="last_user",
        metadata={"help": "What FLIP infers: the last user turn, or the system prompt (the paper's reading)"},
    )
    similarity: SimilarityName = field(
        default="f1", metadata={"help": "How the inferred instruction is compared with the true one"}
    )
    num_samples: int = field(
        default=1,
        metadata={"help": "Inferred instructions per response; the reward is their mean (temperature above 0)"},
    )
    reasoning: bool = field(
        default=True, metadata={"help": "Ask FLIP's judge for one sentence of reasoning before the instruction"}
    )
    thinking: bool = field(
        default=False, metadata={"help": "Let models with a thinking switch think before they answer"}
    )
    json_schema: bool = field(
        default=False, metadata={"help": "Have the server force the reply into the judge's JSON schema"}
    )
    temperature: float = field(default=0.0, metadata={"help": "Sampling temperature of the judge"})
    max_tokens: int = field(default=512, metadata={"help": "Tokens a reply may have"})
    max_response_chars: int = field(
        default=80_000,
        metadata={"help": "Longer responses lose their middle before they are judged; 0 never cuts beforehand"},
    )
    seed: int | None = field(default=None, metadata={"help": "Sampling seed sent to the judge, where it takes one"})
    prompt_dir: str | None = field(
        default=None, metadata={"help": "Folder of other judge prompts, for example the FLIP authors' .prompt files"}
    )

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.max_tokens < 1:
            raise UsageError(
                f"--num_samples and --max_tokens must be above 0, got {self.num_samples}, {self.max_tokens}"
            )
        if self.num_samples > 1 and self.temperature == 0:
            raise UsageError(
                f"--num_samples {self.num_samples} at --temperature 0 draws the same reply each time; "
                "set a temperature such as 0.7"
            )
