"""Responses of a saved policy, written greedily so that they are the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line

BATCH_SIZE = 32


def respond(policy_dir: Path, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
    """One greedy response per conversation, in order.

    Raises:
        UsageError: The folder holds no model and tokenizer that can be loaded.
        MissingDependencyError: torch and transformers are not installed.
    """
    model, tokenizer = _load(policy_dir)
    texts: list[str] = []
    for begin in range(0, len(conversations), BATCH_SIZE):
        inputs = tokenizer.apply_chat_template(
            [list(conversation) for conversation in conversations[begin : begin + BATCH_SIZE]],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        ).to(model.device)
        outputs = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts += tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def _load(policy_dir: Path) -> tuple[Any, Any]:
    if not policy_dir.is_dir():
        raise UsageError(
            f"{policy_dir} does not exist: the run saved no final policy, so give its responses in the file"
        )
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingDependencyError(
            f"writing a policy's responses needs torch and transformers: {install_line('local')}"
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(policy_dir, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(policy_dir, dtype="auto")
    except (OSError, ValueError) as error:
        raise UsageError(f"{policy_dir} can't be loaded as a policy: {error}") from None
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]
    return model.eval(), tokenizer
