"""Settings of a local training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from open_instruct_flip.checks import check_above_zero
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.contract import ReplyContract
from open_instruct_flip.local.models import TRAINED_FOR


@dataclass(frozen=True)
class LocalConfig:
    """GRPO with TRL on a CPU, against a judge server on this machine."""

    judge: str = field(
        default="flip",
        metadata={
            "help": "Judge that gives the rewards; the model that ships knows flip, pointwise and likelihood; esfp "
            "runs in this process, and so does likelihood unless a vLLM server is named"
        },
    )
    steps: int = field(default=60, metadata={"help": "Training steps"})
    seed: int = field(default=1, metadata={"help": "Seed of the run"})
    out: str | None = field(default=None, metadata={"help": "Run folder; else runs/<judge>"})
    overwrite: bool = field(default=False, metadata={"help": "Replace an earlier run in the same folder"})
    dataset: str | None = field(
        default=None,
        metadata={"help": "Folder like datasets/instruction_world; else its instructions are made on the spot"},
    )
    policy_model: str | None = field(default=None, metadata={"help": "Policy folder; else the one that ships"})
    judge_model: str | None = field(default=None, metadata={"help": "Judge folder; else the one that ships"})
    esfp_model: str | None = field(
        default=None, metadata={"help": "Folder of the esfp judge's model, which `flip local build-models` makes"}
    )
    judge_url: str | None = field(
        default=None, metadata={"help": "URL of a judge server that runs already, ending in /v1; else one is started"}
    )
    backend: Literal["transformers", "vllm"] = field(default="transformers", metadata={"help": "Judge server to start"})
    vllm_python: str | None = field(
        default=None, metadata={"help": "Python of an environment with vLLM; makes it the judge server"}
    )
    reasoning: bool = field(
        default=TRAINED_FOR["reasoning"],
        metadata={"help": "Ask flip and pointwise for one sentence of reasoning, as the model that ships needs"},
    )
    reply_contract: ReplyContract = field(
        default=TRAINED_FOR["reply_contract"],
        metadata={
            "help": "How the replies of flip and pointwise are made readable; the model that ships needs free. For a "
            "judge of `flip judge train`: --no_reasoning --reply_contract auto, on vLLM"
        },
    )
    num_prompts: int = field(default=8, metadata={"help": "Instructions per step"})
    num_samples: int = field(default=8, metadata={"help": "Responses per instruction"})
    learning_rate: float = field(default=3e-4, metadata={"help": "Learning rate, constant"})
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature of the policy"})
    max_completion_tokens: int = field(default=48, metadata={"help": "Tokens a response may have"})
    eval_every: int = field(default=20, metadata={"help": "Steps between held-out evaluations"})
    heldout_prompts: int = field(default=64, metadata={"help": "Held-out instructions per evaluation"})
    wandb_project: str = field(
        default="open_instruct_flip", metadata={"help": "W&B project; offline unless WANDB_API_KEY is set"}
    )

    def __post_init__(self) -> None:
        for name in ("steps", "num_prompts", "eval_every", "heldout_prompts", "max_completion_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be above 0, got {getattr(self, name)}")
        check_above_zero(self, "temperature", "learning_rate")
        if self.num_samples < 2:
            raise UsageError(f"--num_samples must be at least 2, got {self.num_samples}: GRPO compares within a group")
