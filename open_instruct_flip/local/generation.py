"""Batched generation with a tiny model, for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.local.models import chat_text


def generate(
    model: Any, tokenizer: Any, chats: Sequence[Sequence[Message]], *, max_new_tokens: int, sample: bool = False
) -> list[str]:
    """One reply per chat, or what goes on with a begun one, greedy or sampled at temperature 1; no control tokens."""
    import torch

    texts = [chat_text(tokenizer, chat) for chat in chats]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    was_training = model.training
    model.eval()
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    with torch.inference_mode():
        output = model.generate(**inputs.to(model.device), max_new_tokens=max_new_tokens, **sampling)
    model.train(was_training)
    new_tokens = output[:, inputs["input_ids"].shape[1] :]
    replies: list[str] = tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
    return replies
