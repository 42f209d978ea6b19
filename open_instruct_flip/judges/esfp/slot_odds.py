"""What a masked language model holds of the slot's words: their log-odds, for judging and for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from open_instruct_flip.judges.esfp.filling import Filled

if TYPE_CHECKING:
    import torch


def padded(filled: Sequence[Filled], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch of filled templates: `input_ids`, `attention_mask` and the `slots`, one row each."""
    import torch

    length = max(len(one.ids) for one in filled)
    return {
        "input_ids": torch.tensor([one.ids + [pad_id] * (length - len(one.ids)) for one in filled]),
        "attention_mask": torch.tensor([[1] * len(one.ids) + [0] * (length - len(one.ids)) for one in filled]),
        "slots": torch.tensor([one.slot for one in filled]),
    }


def slot_log_odds(
    model: Any, batch: dict[str, torch.Tensor], positive: Sequence[int], negative: Sequence[int]
) -> torch.Tensor:
    """log p(positive words) - log p(negative words) in the slot of each row; its logistic is the reward."""
    import torch

    logits = _slot_logits(model, batch).float()
    return torch.logsumexp(logits[:, list(positive)], -1) - torch.logsumexp(logits[:, list(negative)], -1)


def _slot_logits(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The vocabulary's logits in the slot of each row.

    The head is half of a small model's work, and is asked for one position of each row only: what it reads is the
    encoder's output, which a hook narrows to that position.
    """

    def narrowed(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        at = batch["slots"].view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
        output.last_hidden_state = hidden.gather(1, at)
        return output

    hook = model.base_model.register_forward_hook(narrowed)
    try:
        logits: torch.Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    finally:
        hook.remove()
    return logits[:, 0]
