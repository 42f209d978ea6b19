"""What a judge is asked and how its reply becomes a reward: the one place where a judge option is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from open_instruct_flip.conversation import Target
from open_instruct_flip.errors import UsageError
from open_instruct_flip.similarity.measures import DEFAULT_EMBEDDING_MODEL, SimilarityName

ListwiseReward = Literal["best", "rank"]
MIN_RESPONSE_CHARS = 256
"""A response is not cut shorter than this to make it fit the judge's context."""


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
    embedding_model: str = field(
        default=DEFAULT_EMBEDDING_MODEL,
        metadata={"help": "Sentence-transformers model, a hub name or a folder, for --similarity embedding"},
    )
    num_samples: int = field(
        default=1,
        metadata={"help": "Inferred instructions per response; the reward is their mean (temperature above 0)"},
    )
    max_pairs: int = field(
        default=0,
        metadata={
            "help": "Pairs of a group that the pairwise judge compares, both orders each; 0 compares all. "
            "Never fewer than give every response one"
        },
    )
    listwise_reward: ListwiseReward = field(
        default="best",
        metadata={
            "help": "Listwise reward: 1 for the best response and 0 else, or the share of the group ranked below"
        },
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
    seed: int | None = field(
        default=None,
        metadata={
            "help": "Seed sent to the judge, where it takes one; also of sampled pairs and of listwise positions"
        },
    )
    prompt_dir: str | None = field(
        default=None, metadata={"help": "Folder of other judge prompts, for example the FLIP authors' .prompt files"}
    )

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.max_tokens < 1:
            raise UsageError(
                f"--num_samples and --max_tokens must be above 0, got {self.num_samples}, {self.max_tokens}"
            )
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"--temperature must be 0 or above, got {self.temperature}")
        if self.max_response_chars and self.max_response_chars < MIN_RESPONSE_CHARS:
            raise UsageError(
                f"--max_response_chars is 0 (never cut beforehand) or at least {MIN_RESPONSE_CHARS}, "
                f"got {self.max_response_chars}"
            )
        if self.listwise_reward not in get_args(ListwiseReward):
            raise UsageError(f"--listwise_reward is best or rank, got {self.listwise_reward!r}")
        if self.max_pairs < 0:
            raise UsageError(f"--max_pairs must be 0 (all pairs) or above, got {self.max_pairs}")
        if self.num_samples > 1 and self.temperature == 0:
            raise UsageError(
                f"--num_samples {self.num_samples} at --temperature 0 draws the same reply each time; "
                "set a temperature such as 0.7"
            )
