"""A masked language model in this process, loaded at its first use and then kept. torch is imported with it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import JudgeUnusableError, MissingDependencyError, UsageError, install_line
from open_instruct_flip.judges.esfp.filling import Filled, Filler
from open_instruct_flip.judges.esfp.slot import Slot
from open_instruct_flip.judges.esfp.slot_odds import padded, slot_log_odds
from open_instruct_flip.rewards import FailureKind

BATCH_TOKENS = 4096
"""Tokens of a batch, padding included. A CPU gains nothing beyond."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says of one rollout: the reward in [0, 1], and whether a part lost its middle to fit."""

    score: float
    truncated: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A rollout to judge, and who waits for it."""

    instruction: str
    response: str
    explanation: str
    result: Future[Verdict] = field(default_factory=Future)


@lru_cache(maxsize=2)
def masked_model(folder: str, device: str, slot: Slot) -> MaskedModel:
    """The model of this process."""
    return MaskedModel(folder, device, slot)


def load_masked_model(folder: str, slot: Slot) -> tuple[Any, Any, Filler]:
    """The model, its tokenizer, and what fills its slot.

    Raises:
        MissingDependencyError: transformers or torch is not installed.
        UsageError: The folder holds no masked language model, or it does not fit the slot.
    """
    try:
        from transformers import AutoModelForMaskedLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(f"the esfp judge needs torch and transformers: {install_line('local')}") from error
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


class MaskedModel:
    """Fills slots in one thread of its own, so that no event loop waits for it.

    Args:
        folder: The model's folder.
        device: As torch names it.
        slot: The slot of that folder.
    """

    def __init__(self, folder: str, device: str, slot: Slot) -> None:
        self._folder, self._device, self._slot = folder, device, slot
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flip-esfp-model")
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._loaded: tuple[Any, Any, Filler] | None = None

    def judge(self, instruction: str, response: str, explanation: str) -> Future[Verdict]:
        """The verdict on a rollout; what is asked for while the thread is busy is judged together.

        The future raises JudgeUnusableError where the model can't be loaded, and RequestFailed where it fails.
        """
        asked = Waiting(instruction, response, explanation)
        with self._lock:
            self._waiting.append(asked)
        self._thread.submit(self._judge_waiting)
        return asked.result

    def _judge_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        wanted = [one for one in waiting if one.result.set_running_or_notify_cancel()]
        try:
            filled = self._filled(wanted)
        except Exception as error:  # whatever loading raises: those who wait must know
            _fail(wanted, _unusable(self._folder, self._device, error))
            return
        for batch in batches(filled):
            asked = [wanted[number] for number in batch]
            try:
                scores = self._scores([filled[number] for number in batch])
            except Exception as error:  # out of memory, or whatever a model's own code raises
                _fail(asked, _failed(error))
                continue
            for one, number, score in zip(asked, batch, scores, strict=True):
                one.result.set_result(Verdict(score, filled[number].truncated))

    def _filled(self, wanted: Sequence[Waiting]) -> list[Filled]:
        if self._loaded is None:
            model, tokenizer, filler = load_masked_model(self._folder, self._slot)
            self._loaded = model.to(self._device).eval(), tokenizer, filler
        filler = self._loaded[2]
        return [filler.fill(one.instruction, one.response, one.explanation) for one in wanted]

    def _scores(self, filled: Sequence[Filled]) -> list[float]:
        import torch

        assert self._loaded is not None
        model, tokenizer, filler = self._loaded
        batch = {name: rows.to(self._device) for name, rows in padded(filled, tokenizer.pad_token_id).items()}
        with torch.inference_mode():
            scores: list[float] = slot_log_odds(model, batch, filler.positive, filler.negative).sigmoid().tolist()
        if not all(map(math.isfinite, scores)):
            raise ValueError("it gives NaN; train it again, with a smaller --learning_rate")
        return scores


def batches(filled: Sequence[Filled]) -> Iterator[list[int]]:
    """Numbers of filled templates, those of similar length together, within `BATCH_TOKENS`.

    Example:
        >>> list(batches([Filled([1] * length, 0, False) for length in (3000, 10, 11, 3000)]))
        [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for number in sorted(range(len(filled)), key=lambda n: len(filled[n].ids)):
        if batch and (len(batch) + 1) * len(filled[number].ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _fail(asked: Sequence[Waiting], error: Exception) -> None:
    for one in asked:
        one.result.set_exception(error)


def _unusable(folder: str, device: str, error: Exception) -> Exception:
    if isinstance(error, (UsageError, MissingDependencyError)):
        return JudgeUnusableError(str(error))
    reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
    return JudgeUnusableError(f"the esfp model {folder} can't be loaded on {device}: {reason}")


def _failed(error: Exception) -> RequestFailed:
    reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
    return RequestFailed(FailureKind.SERVER_ERROR, f"the esfp model failed: {reason}")
