"""TRL's own GRPOTrainer on the policy that ships: a step takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from open_instruct_flip.local.models import model_path

SUBJECTS = ("soil", "rain", "wood", "iron", "salt", "wind")


def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(model_path("policy"))


def trainer(
    rewards: list[Any], out: Path, processing_class: Any = None, kind: type = GRPOTrainer, **options: Any
) -> GRPOTrainer | RLOOTrainer:
    """A trainer that is ready for one step; `options` are those of its configuration."""
    config = RLOOConfig if kind is RLOOTrainer else GRPOConfig
    settings: dict[str, Any] = {
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "use_vllm": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "model_init_kwargs": {"dtype": "float32"},
    }
    prompts = [[{"role": "user", "content": f"Name one use of {subject}."}] for subject in SUBJECTS]
    return kind(
        model=str(model_path("policy")),
        reward_funcs=rewards,
        args=config(output_dir=str(out), **settings | options),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=processing_class or tokenizer(),
    )


def logged(of: GRPOTrainer | RLOOTrainer) -> dict[str, Any]:
    """What the step logged."""
    return of.state.log_history[0]
