"""A masked language model in this process, loaded at its first use and then kept. torch is imported with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from open_instruct_flip.client.batch_thread import BatchThread
from open_instruct_flip.errors import (
    FlipError,
    JudgeUnusableError,
    MissingDependencyError,
    UsageError,
    install_line,
)
from open_instruct_flip.judges.esfp.filling import Filled, Filler
from open_instruct_flip.judges.esfp.slot import Slot
from open_instruct_flip.judges.esfp.slot_odds import padded, slot_log_odds

BATCH_TOKENS = 4096
"""Tokens of a batch, padding included. A CPU gains nothing beyond."""


@dataclass(frozen=True, slots=True)
class Item:
    """A filled template, and who waits for its reward."""

    filled: Filled
    result: Future[float] = field(default_factory=Future)


@lru_cache(maxsize=2)
def masked_model(folder: str, device: str, slot: Slot) -> MaskedModel:
    """The model of this process."""
    return MaskedModel(folder, device, slot)


# A child has the model, and not the thread that answers for it.
os.register_at_fork(after_in_child=masked_model.cache_clear)


def load_masked_model(folder: str, slot: Slot) -> tuple[Any, Any, Filler]:
    """The model, its tokenizer, and what fills its slot.

    Raises:
        MissingDependencyError: transformers or torch is not installed.
        UsageError: The folder holds no masked language model, or it does not fit the slot.
    """
    try:
        from transformers import AutoModelForMaskedLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(
            f"the esfp judge needs torch and transformers: {install_line('judge-training')}"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForMaskedLM.from_pretrained(folder, dtype="float32")
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder} holds no masked language model: {' '.join(str(error).split()):.200}") from error
    return model, tokenizer, Filler(tokenizer, slot, _positions(model, tokenizer))


def _positions(model: Any, tokenizer: Any) -> int:
    """How many tokens a model reads: RoBERTa's and its relatives' positions start behind the padding's number."""
    positions: int = model.config.max_position_embeddings
    from_padding = model.config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer", "xlm-roberta-xl")
    return positions - (tokenizer.pad_token_id + 1 if from_padding else 0)


class MaskedModel(BatchThread[Item]):
    """Fills slots in one thread of its own, so that no event loop waits for it.

    Args:
        folder: The model's folder.
        device: As torch names it.
        slot: The slot of that folder.
    """

    def __init__(self, folder: str, device: str, slot: Slot) -> None:
        super().__init__("esfp model")
        self._folder, self._device, self._slot = folder, device, slot
        self._loaded: tuple[Any, Any, Filler] | None = None

    def fill(self, instruction: str, response: str, explanation: str) -> Future[Filled]:
        """The filled template; the future raises JudgeUnusableError where the model can't be loaded."""
        return self.submit(self._fill, instruction, response, explanation)

    def read(self, filled: Filled) -> Future[float]:
        """The reward in [0, 1] of a filled template; the future raises RequestFailed where the model fails.

        What is asked for while the thread is busy is read together.
        """
        item = Item(filled)
        self.ask(item)
        return item.result

    def _fill(self, instruction: str, response: str, explanation: str) -> Filled:
        _, _, filler = self._load()
        return filler.fill(instruction, response, explanation)

    def _load(self) -> tuple[Any, Any, Filler]:
        if self._loaded is None:
            try:
                model, tokenizer, filler = load_masked_model(self._folder, self._slot)
                self._loaded = model.to(self._device).eval(), tokenizer, filler
            except (FlipError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:300]
                raise JudgeUnusableError(f"the esfp model can't be used on {self._device}: {reason}") from error
        return self._loaded

    def split(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        return batches(items)

    def answer(self, batch: Sequence[Item]) -> list[float]:
        import torch

        model, tokenizer, filler = self._load()
        rows = padded([item.filled for item in batch], tokenizer.pad_token_id)
        on_device = {name: values.to(self._device) for name, values in rows.items()}
        with torch.inference_mode():
            odds = slot_log_odds(model, on_device, filler.positive, filler.negative)
        scores: list[float] = odds.sigmoid().tolist()
        if not all(map(math.isfinite, scores)):
            raise ValueError("it gives NaN; train it again, with a smaller --learning_rate")
        return scores


def batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items of similar length together, within `BATCH_TOKENS`.

    Example:
        >>> [len(batch) for batch in batches([Item(Filled([1] * n, 0, False)) for n in (3000, 10, 11, 3000)])]
        [2, 1, 1]
    """
    batch: list[Item] = []
    for item in sorted(items, key=lambda item: len(item.filled.ids)):
        # Sorted by length, the last is the longest.
        if batch and (len(batch) + 1) * len(item.filled.ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
