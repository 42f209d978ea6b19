"""verl's own loader and reward manager, on the policy that ships."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager

from open_instruct_flip.local.models import model_path

PATH = "pkg://open_instruct_flip.integrations.verl"


async def rewards(instruction: str, responses: list[str], manager: str = "naive", **options: Any) -> list[dict]:
    """What verl's reward manager makes of each response, all at once as its reward loop asks."""
    tokenizer = AutoTokenizer.from_pretrained(model_path("policy"))
    function = {"path": PATH, "name": "compute_score", "reward_kwargs": options}
    config = OmegaConf.create(
        {"reward": {"custom_reward_function": function, "reward_manager": {"source": "register", "name": manager}}}
    )
    loaded = load_reward_manager(config, tokenizer)
    rows = [_row(tokenizer, instruction, response) for response in responses]
    return await asyncio.gather(*map(loaded.run_single, rows))


def _row(tokenizer: Any, instruction: str, response: str) -> DataProto:
    ids = tokenizer(f"{response}{tokenizer.eos_token}", add_special_tokens=False, return_tensors="pt").input_ids
    prompt = tokenizer(instruction, add_special_tokens=False, return_tensors="pt").input_ids
    mask = torch.ones(1, prompt.shape[1] + ids.shape[1], dtype=torch.long)
    batch = TensorDict({"prompts": prompt, "responses": ids, "attention_mask": mask}, batch_size=1)
    columns = {
        "data_source": np.array(["flip"], dtype=object),
        "reward_model": np.array([{"ground_truth": instruction}], dtype=object),
        "extra_info": np.array([{}], dtype=object),
    }
    return DataProto(batch=batch, non_tensor_batch=columns)
