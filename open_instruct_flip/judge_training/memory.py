"""How much memory a training takes, estimated before it starts."""

from __future__ import annotations

from typing import Any

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.config import JudgeTrainingConfig

GB = 10**9
MARGIN, CPU_MARGIN = 1.2, 2.0
"""What is held over what is needed. On a CPU, batches of different lengths leave holes in the heap: 1.6 to 2.4 measured
in trainings of 126 steps of SmolLM2-135M."""
ACTIVATIONS_PER_LAYER = 64
"""Bytes per token and hidden unit in 16 bits, attention scores aside: 64 to 73 measured with LoRA on SmolLM2-135M.

The 34 of Korthikanti et al. 2022 (arXiv 2205.05198) are of a block without a gated MLP and without adapters.
"""


def check_memory(model_config: Any, config: JudgeTrainingConfig, longest: int, *, gpu: bool, bfloat16: bool) -> float:
    """The estimated need in bytes.

    Args:
        model_config: The base model's `PretrainedConfig`.
        config: The training's options.
        longest: Tokens of the longest example.
        gpu: Whether a GPU trains.
        bfloat16: Whether products are made in bfloat16.

    Raises:
        UsageError: There is less free memory than that.
    """
    needed = needed_bytes(model_config, config, longest, gpu=gpu, bfloat16=bfloat16)
    free = free_bytes(gpu=gpu)
    if needed > free:
        raise UsageError(
            f"training {config.base} takes about {needed / GB:.1f} GB of memory, and {free / GB:.1f} GB are free: "
            f"{_remedy(config)}"
        )
    return needed


def needed_bytes(model_config: Any, config: JudgeTrainingConfig, longest: int, *, gpu: bool, bfloat16: bool) -> float:
    """Weights, gradients, Adam's two moments in 32 bits, and the activations of one batch on the device."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(model_config)
    except ValueError as error:
        raise UsageError(f"--base {config.base} is no language model that goes on with text: {error!s:.200}") from error
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    adapters = config.lora_rank * sum(m.in_features + m.out_features for m in linear)
    trained = model.num_parameters() if config.full else adapters
    width = 2 if gpu and bfloat16 and not config.full else 4
    text = model_config.get_text_config()
    per_token = text.num_hidden_layers * text.hidden_size * ACTIVATIONS_PER_LAYER * (1 if bfloat16 else 2)
    if config.gradient_checkpointing:
        per_token /= text.num_hidden_layers
    weights = model.num_parameters() * width + trained * (12 if config.full else 16)
    return (MARGIN if gpu else CPU_MARGIN) * (weights + config.device_batch_size * longest * per_token)


def free_bytes(*, gpu: bool) -> int:
    """Bytes that are free on the device that trains."""
    if gpu:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _remedy(config: JudgeTrainingConfig) -> str:
    smaller = [] if config.device_batch_size == 1 else ["--device_batch_size 1"]
    smaller += [] if config.gradient_checkpointing else ["--gradient_checkpointing"]
    smaller += ["no --full"] if config.full else []
    return "try " + ", ".join([*smaller, "a smaller --max_length or --base"])
