"""GRPO with TRL on any Hugging Face policy, any RLVR dataset, and any judge of this package.

    python examples/trl_grpo_flip.py --model_name_or_path Qwen/Qwen3-0.6B \\
        --dataset datasets/general_chat/general_chat_flip \\
        --llm_judge_model hosted_vllm/Qwen/Qwen3-4B --api_base http://127.0.0.1:8001/v1 --output_dir runs/trl

Every flag of TRL's GRPOConfig and ModelConfig is taken: `--use_peft` trains a LoRA adapter, `--use_vllm --vllm_mode
colocate` generates with vLLM on the trainer's own GPUs, `--use_cpu` needs none. Several processes: `accelerate launch`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from datasets import Dataset, load_dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, ModelConfig, TrlParser, get_peft_config

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.judges.registry import judge_class


@dataclass
class Experiment:
    """What TRL and the judge's client have no flag for."""

    dataset: str = field(metadata={"help": "RLVR dataset with a train split: a folder or a hub name"})
    judge: str = field(default="flip", metadata={"help": "Judge that gives the reward"})
    judge_options: str = field(
        default="{}", metadata={"help": 'Options of the judge, as JSON, such as {"copy_guard": "penalize"}'}
    )


def main() -> None:
    """Train, and save the policy."""
    experiment, client, config, model = TrlParser(
        (Experiment, ClientConfig, GRPOConfig, ModelConfig)
    ).parse_args_and_config()
    tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config.model_init_kwargs = (config.model_init_kwargs or {}) | {"dtype": model.dtype}
    judge = judge_class(experiment.judge).from_options(json.loads(experiment.judge_options), client)
    trainer = GRPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=[flip_reward(judge, processing_class=tokenizer, chat_template_kwargs=config.chat_template_kwargs)],
        args=config,
        train_dataset=prompts(experiment.dataset),
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    trainer.save_model()


def prompts(name: str) -> Dataset:
    """The dataset's conversations as TRL's `prompt`; in an RLVR dataset for FLIP each ends with the instruction."""
    return load_dataset(name, split="train").select_columns("messages").rename_column("messages", "prompt")


if __name__ == "__main__":
    main()
