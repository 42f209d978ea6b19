"""Supervised training of a tiny model on a stream of examples: chat in, reply out, loss on the reply only."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from open_instruct_flip.local.examples import Example
from open_instruct_flip.local.models import chat_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
BATCHES_PER_CHUNK = 16


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training: a stream of examples, and how long and how fast to learn from it."""

    name: str
    examples: Iterator[Example]
    steps: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids: the system message, which many examples share, what follows it, and its labels."""

    prefix: tuple[int, ...]
    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples with one prefix: prefix (1, p) or None, ids and labels (batch, length), padded on the right."""

    prefix: torch.Tensor | None
    ids: torch.Tensor
    labels: torch.Tensor


def encode(example: Example, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Token ids of an example. Control tokens part the messages, so that each can be encoded alone."""
    has_system = example.messages[0]["role"] == "system"
    system, rest = example.messages[:has_system], example.messages[has_system:]
    prefix = tokenizer(chat_text(tokenizer, system, replies=False))["input_ids"] if system else []
    prompt = tokenizer(chat_text(tokenizer, rest))["input_ids"]
    reply = [*tokenizer(example.reply)["input_ids"], tokenizer.eos_token_id]
    return Encoded(tuple(prefix), prompt + reply, [IGNORED] * len(prompt) + reply)


def batches(examples: Iterator[Example], tokenizer: PreTrainedTokenizerFast, batch_size: int) -> Iterator[Batch]:
    """An endless stream of batches of examples with the same prefix and similar lengths."""
    while True:
        chunk = [encode(example, tokenizer) for example in itertools.islice(examples, batch_size * BATCHES_PER_CHUNK)]
        chunk.sort(key=lambda e: (e.prefix, len(e.ids)))
        groups = [
            group
            for _, same in itertools.groupby(chunk, key=lambda e: e.prefix)
            for group in _slices(list(same), batch_size)
        ]
        # From both ends in turn, so that no stretch of steps sees one kind of example only.
        for number in range(len(groups)):
            yield _pad(groups[number // 2 if number % 2 == 0 else -1 - number // 2], tokenizer.pad_token_id)


def _slices(examples: list[Encoded], size: int) -> list[list[Encoded]]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def _pad(group: Sequence[Encoded], pad: int) -> Batch:
    import torch

    length = max(len(e.ids) for e in group)
    ids = torch.tensor([e.ids + [pad] * (length - len(e.ids)) for e in group])
    labels = torch.tensor([e.labels + [IGNORED] * (length - len(e.labels)) for e in group])
    return Batch(torch.tensor([group[0].prefix]) if group[0].prefix else None, ids, labels)


def reply_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the replies' tokens.

    The shared prefix, two thirds of a judge's prompt, goes through the model once for the whole batch, gradients
    included, and the vocabulary is only projected to where a reply stands.
    """
    import torch.nn.functional as F
    from transformers import DynamicCache

    cache = None
    if batch.prefix is not None:
        cache = DynamicCache(config=model.config)
        model.model(input_ids=batch.prefix, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(batch.ids))
    hidden = model.model(input_ids=batch.ids[:, :-1], past_key_values=cache).last_hidden_state
    target = batch.labels[:, 1:]
    asked = target != IGNORED
    return F.cross_entropy(model.lm_head(hidden[asked]).float(), target[asked])


def train_model(model: Any, tokenizer: PreTrainedTokenizerFast, stage: Stage, report_every: int = 50) -> Iterator[str]:
    """Train in place; yields a line with step, loss and rate every `report_every` steps."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, stage.steps))
    stream = batches(stage.examples, tokenizer, stage.batch_size)
    model.train()
    losses: list[float] = []
    started = time.monotonic()
    for step in range(1, stage.steps + 1):
        loss = reply_loss(model, next(stream))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % report_every == 0 or step == stage.steps:
            rate = step / (time.monotonic() - started)
            recent = losses[-report_every:]
            left_s = (stage.steps - step) / rate
            mean = sum(recent) / len(recent)
            yield f"{stage.name} {step}/{stage.steps} loss {mean:.4f}, {rate:.1f} steps/s, {left_s:.0f} s left"
    model.eval()


def _rate(step: int, steps: int) -> float:
    warmup = min(50, steps // 10 + 1)
    return min(1.0, (step + 1) / warmup) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
