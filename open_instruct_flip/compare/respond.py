"""Responses of a saved policy, written greedily so that they are the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line
from open_instruct_flip.thinking import final_answer_in_tokens, opens_thinking

BATCH_SIZE = 32


def respond(policy_dir: Path, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
    """One greedy response per conversation, in order, its thinking removed: empty where that never ends.

    Raises:
        UsageError: The folder holds no model and tokenizer that can be loaded.
        MissingDependencyError: torch and transformers are not installed.
    """
    model, tokenizer = _load(policy_dir)
    prompts = [_generation_prompt(tokenizer, conversation) for conversation in conversations]
    answers: list[str] = []
    for begin in range(0, len(prompts), BATCH_SIZE):
        batch = prompts[begin : begin + BATCH_SIZE]
        # The template has written the special tokens that a prompt starts with.
        inputs = tokenizer(batch, add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
        outputs = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        written = outputs[:, inputs["input_ids"].shape[1] :]
        answers += [_answer(tokenizer, prompt, ids) for prompt, ids in zip(batch, written, strict=True)]
    return answers


def _generation_prompt(tokenizer: Any, conversation: Sequence[Message]) -> str:
    prompt: str = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, tokenize=False)
    return prompt


def _answer(tokenizer: Any, prompt: str, token_ids: Any) -> str:
    """What was written behind a prompt, without its thinking."""
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    return final_answer_in_tokens(tokenizer, token_ids, text, opened=opens_thinking(prompt))


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
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]  # transformers' wrapper of `to` hides its types
    return model.eval(), tokenizer
