"""Trains a masked language model to fill the slot: with transformers' Trainer, on pairs.

The loss is the slot's cross-entropy between the positive and the negative words, of the chosen and of the rejected
response, and with a margin also max(0, margin - (log-odds of the chosen - log-odds of the rejected)).
"""

from __future__ import annotations

import importlib.metadata
import math
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import logging as transformers_logging

from open_instruct_flip.compare.history import RunHistory
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.esfp.card import write_card
from open_instruct_flip.esfp.config import TrainConfig
from open_instruct_flip.esfp.pairs import Pair
from open_instruct_flip.judges.esfp.filling import Filled, Filler, told
from open_instruct_flip.judges.esfp.masked_model import load_masked_model
from open_instruct_flip.judges.esfp.slot import write_slot
from open_instruct_flip.judges.esfp.slot_odds import padded, slot_log_odds

RUN_FOLDER = "run"
Example = tuple[Filled, Filled]
"""A pair's filled templates: of the chosen and of the rejected response."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training came to, all on the held-out pairs.

    Attributes:
        folder: The model's.
        accuracy: Share of pairs whose chosen response has the higher reward, in [0, 1].
        accuracy_before: The same before training.
        loss: Loss of the model that is kept.
        steps: Steps until training ended.
        pairs: Pairs trained on, and held out.
        truncated: Share of responses of which a part lost its middle.
    """

    folder: Path
    accuracy: float
    accuracy_before: float
    loss: float
    steps: int
    pairs: tuple[int, int]
    truncated: float


def train_esfp(pairs: Sequence[Pair], config: TrainConfig, say: Callable[[str], None] = print) -> Trained:
    """Train on pairs, and write the folder that the esfp judge reads.

    Raises:
        UsageError: Too few pairs, no explanations where they are asked for, a base model that can't be used, or a
            folder that is not empty.
        FlipError: The loss became NaN.
    """
    out = Path(config.out)
    _check(pairs, out, config)
    transformers_logging.disable_progress_bar()
    set_seed(config.seed)
    model, tokenizer, filler = load_masked_model(config.base, config.slot())
    train, heldout = ([_example(pair, filler) for pair in part] for part in split_pairs(pairs, config))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix="checkpoints-") as checkpoints:
        trainer = _trainer(model, tokenizer, filler, train, heldout, config, checkpoints)
        follower = Follower(out / RUN_FOLDER, config, say)
        trainer.add_callback(follower)
        before = trainer.evaluate()
        trainer.train()
        after = trainer.evaluate()
    if not math.isfinite(after["eval_loss"]):
        shutil.rmtree(out)
        raise FlipError(f"the loss became {after['eval_loss']}: nothing is written; give a smaller --learning_rate")
    trained = Trained(
        out,
        after["eval_accuracy"],
        before["eval_accuracy"],
        after["eval_loss"],
        trainer.state.global_step,
        (len(train), len(heldout)),
        float(np.mean([one.truncated for example in [*train, *heldout] for one in example])),
    )
    _save(trainer, tokenizer, trained, config)
    return trained


def _check(pairs: Sequence[Pair], out: Path, config: TrainConfig) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is no empty folder; give another")
    if config.device != "cpu" and torch.cuda.device_count() != 1:
        raise UsageError(
            f"--device {config.device} trains on one GPU, this process sees {torch.cuda.device_count()}; set "
            "CUDA_VISIBLE_DEVICES, or give --device cpu"
        )
    if len(pairs) < 2:
        raise UsageError(f"training needs two pairs at least, one of them to hold out; got {len(pairs)}")
    if len({repr(pair.conversation) for pair in pairs}) < 2:
        raise UsageError("the pairs must be of two conversations at least, one of them to hold out; all are of one")
    bare = sum(pair.explanations is None for pair in pairs)
    if config.explanations and bare:
        raise UsageError(
            f"{bare} of {len(pairs)} pairs have no explanations; write them with `flip esfp explain`, "
            "or train with --no_explanations"
        )


def _example(pair: Pair, filler: Filler) -> Example:
    instruction = told(pair.conversation)
    chosen, rejected = pair.explanations or ("", "")
    return filler.fill(instruction, pair.chosen, chosen), filler.fill(instruction, pair.rejected, rejected)


def split_pairs(pairs: Sequence[Pair], config: TrainConfig) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs to hold out, both shuffled; no conversation has pairs in both.

    Whole conversations are held out, the smallest one and others up to `heldout` of the pairs; one is left to train on.
    """
    order = list(pairs)
    random.Random(config.seed).shuffle(order)
    conversations: dict[str, list[Pair]] = {}
    for pair in order:
        conversations.setdefault(repr(pair.conversation), []).append(pair)
    wanted = max(1, round(config.heldout * len(order)))
    # The smallest one first, whatever its size; sorting is stable, so that the others stay shuffled.
    smallest = min(conversations, key=lambda name: len(conversations[name]))
    held: dict[str, list[Pair]] = {}
    count = 0
    for name in sorted(conversations, key=lambda name: name != smallest):
        size = len(conversations[name])
        if len(held) < len(conversations) - 1 and (not held or count + size <= wanted):
            held[name] = conversations[name]
            count += size
    train = [pair for pair in order if repr(pair.conversation) not in held]
    return train, [pair for of_conversation in held.values() for pair in of_conversation]


def _trainer(
    model: Any,
    tokenizer: Any,
    filler: Filler,
    train: list[Example],
    heldout: list[Example],
    config: TrainConfig,
    checkpoints: str,
) -> Trainer:
    steps = math.ceil(len(train) / config.batch_size)
    every = max(1, steps // config.evals_per_epoch)
    arguments = TrainingArguments(
        output_dir=checkpoints,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, round(0.1 * steps * config.epochs)),
        weight_decay=0.01,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=1,
        save_only_model=True,
        logging_steps=every,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        remove_unused_columns=False,
        use_cpu=config.device == "cpu",
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
    )
    return SlotTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=heldout,
        data_collator=lambda batch: _collated(batch, tokenizer.pad_token_id),
        compute_metrics=lambda found: {"accuracy": float(np.mean(found.predictions > 0))},
        callbacks=[EarlyStoppingCallback(config.patience)],
        filler=filler,
        margin=config.margin,
    )


def _collated(batch: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """The chosen responses of a batch of pairs, then the rejected ones."""
    return padded([example[side] for side in (0, 1) for example in batch], pad_id)


class SlotTrainer(Trainer):
    """transformers' Trainer with the slot's loss."""

    def __init__(self, *, filler: Filler, margin: float, **options: Any) -> None:
        super().__init__(**options)
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self._filler = filler
        self._margin = margin

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, *_: Any, **__: Any) -> Any:
        odds = slot_log_odds(model, inputs, self._filler.positive, self._filler.negative)
        chosen, rejected = odds.chunk(2)
        loss = (F.softplus(-chosen) + F.softplus(rejected)).mean() / 2
        if self._margin:
            loss = loss + F.relu(self._margin - (chosen - rejected)).mean()
        return (loss, chosen - rejected) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, *_: Any, **__: Any) -> Any:
        """The loss, and each pair's difference of log-odds."""
        with torch.no_grad():
            loss, difference = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        return loss, difference, torch.ones_like(difference)


class Follower(TrainerCallback):
    """Writes the run in the format of `flip compare`, and a line per evaluation."""

    def __init__(self, folder: Path, config: TrainConfig, say: Callable[[str], None]) -> None:
        self._history = RunHistory(folder, name="esfp", judge="esfp", seed=config.seed, config=asdict(config))
        self._say = say

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            loss, accuracy = logs["eval_loss"], logs["eval_accuracy"]
            self._history.log(state.global_step, heldout_loss=loss, heldout_accuracy=accuracy)
            self._say(f"step {state.global_step}/{state.max_steps}: held-out loss {loss:.3f}, accuracy {accuracy:.1%}")
        elif "loss" in logs:
            self._history.log(state.global_step, loss=logs["loss"], grad_norm=logs.get("grad_norm"))


def _save(trainer: Trainer, tokenizer: Any, trained: Trained, config: TrainConfig) -> None:
    trainer.save_model(str(trained.folder))
    (trained.folder / TRAINING_ARGS_NAME).unlink()  # a pickle, which nobody needs who judges
    tokenizer.save_pretrained(trained.folder)
    versions = {name: importlib.metadata.version(name) for name in ("open-instruct-flip", "transformers", "torch")}
    write_card(trained, config, versions)
    write_slot(trained.folder, config.slot(), {"base": config.base, "seed": config.seed, **versions})
