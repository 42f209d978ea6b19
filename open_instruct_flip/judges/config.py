"""Options that judges share; each judge's own stand beside it, in a dataclass that extends one of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from open_instruct_flip.checks import check_zero_or_above
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.contract import ReplyContract
from open_instruct_flip.similarity.copying import CopyGuard

MIN_RESPONSE_CHARS = 256
"""A response is not cut shorter than this to make it fit the judge's context."""


@dataclass(frozen=True)
class JudgeConfig:
    """What every judge has. Plain values only: it is pickled into workers."""

    max_response_chars: int = field(
        default=80_000,
        metadata={"help": "Longer responses lose their middle before they are judged; 0 never cuts beforehand"},
    )
    seed: int | None = field(
        default=None,
        metadata={
            "help": "Seed sent to the judge, where it takes one; also of sampled pairs and of listwise positions"
        },
    )
    prompt_dir: str | None = field(
        default=None, metadata={"help": "Folder of other judge prompts, for example the FLIP authors' .prompt files"}
    )
    thinking: bool = field(
        default=False, metadata={"help": "Let models with a thinking switch think before they answer"}
    )
    copy_guard: CopyGuard = field(
        default="off",
        metadata={
            "help": "Against responses that quote their instruction: hide the quotes from the judge (mask), or take "
            "the share of it that they copy off the reward (penalize)"
        },
    )

    def __post_init__(self) -> None:
        if self.copy_guard not in get_args(CopyGuard):
            raise UsageError(f"--copy_guard is one of {', '.join(get_args(CopyGuard))}, got {self.copy_guard!r}")
        if self.max_response_chars and self.max_response_chars < MIN_RESPONSE_CHARS:
            raise UsageError(
                f"--max_response_chars is 0 (never cut beforehand) or at least {MIN_RESPONSE_CHARS}, "
                f"got {self.max_response_chars}"
            )


@dataclass(frozen=True)
class ReplyConfig(JudgeConfig):
    """What a judge has whose model writes a reply."""

    temperature: float = field(default=0.0, metadata={"help": "Sampling temperature of the judge"})
    max_tokens: int = field(default=512, metadata={"help": "Tokens a reply may have"})
    num_samples: int = field(
        default=1, metadata={"help": "Replies to each question; the reward is their mean (temperature above 0)"}
    )
    reasoning: bool = field(default=False, metadata={"help": "Ask for one sentence of reasoning before the verdict"})
    reply_contract: ReplyContract = field(
        default="auto",
        metadata={
            "help": "How replies are made readable: the judge's turn opened for it (prefill), its JSON schema forced, "
            "or neither; auto takes the surest that the server keeps"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reply_contract not in get_args(ReplyContract):
            raise UsageError(
                f"--reply_contract is one of {', '.join(get_args(ReplyContract))}, got {self.reply_contract!r}"
            )
        if self.num_samples < 1 or self.max_tokens < 1:
            raise UsageError(
                f"--num_samples and --max_tokens must be above 0, got {self.num_samples}, {self.max_tokens}"
            )
        check_zero_or_above(self, "temperature")
        if self.num_samples > 1 and self.temperature == 0:
            raise UsageError(
                f"--num_samples {self.num_samples} at --temperature 0 draws the same reply each time; "
                "set a temperature such as 0.7"
            )
