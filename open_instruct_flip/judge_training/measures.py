"""What a judge can do on held-out pairs, measured with the model in memory as the served judge would be asked."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from open_instruct_flip.judge_training.config import LINE_UP, JudgeTrainingConfig
from open_instruct_flip.judge_training.lessons import Lesson, Prompts
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judges.likelihood import NO_RESPONSE
from open_instruct_flip.similarity.f1 import f1_score

TOKENS_AT_ONCE = 16_384
"""Tokens of prompts and replies that are generated together: what 16 of the default `--max_length` come to."""
MEASURES = {
    "f1": "token F1 of the inferred and the true instruction, the reply opened by the server",
    "retrieval": f"how often the own instruction is the nearest of {LINE_UP}; a tie of k counts 1/k",
    "readability": "share of replies that can be read where nothing opens or forces them",
    "likelihood_gain": "nats per token that the response adds to its instruction's log-likelihood",
}
"""The measures and what they mean. Higher is better in each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model makes of the held-out pairs.

    Attributes:
        per_pair: For each of `MEASURES`, its value for each pair, in their order.
        inferred: The instruction that was inferred of each, the reply opened; None where the reply has none.
    """

    per_pair: Mapping[str, Sequence[float]]
    inferred: Sequence[str | None]

    def means(self) -> dict[str, float]:
        """The mean of each measure, and its standard error as `<name>_se`."""
        return means(self.per_pair)


class HeldOut:
    """Held-out pairs and what is asked about them.

    Args:
        pairs: At least `LINE_UP`, each with its own instruction.
        prompts: How the judges ask.
        config: Of its options, `max_reply_tokens`.
    """

    def __init__(self, pairs: Sequence[Pair], prompts: Prompts, config: JudgeTrainingConfig) -> None:
        self.pairs = pairs
        self._prompts = prompts
        self._tokenizer = prompts.tokenizer
        self._max_reply_tokens = config.max_reply_tokens
        self._opened = [prompts.opened(pair) for pair in pairs]
        self._free = [prompts.free(pair) for pair in pairs]
        self._with = [prompts.statement(pair, ended=False) for pair in pairs]
        self._without = [prompts.statement(replace(pair, response=NO_RESPONSE), ended=False) for pair in pairs]
        self._line_ups = [_line_up(pair.instruction, pairs) for pair in pairs]

    def measure(self, model: Any) -> Measured:
        """What a model in memory infers, as the served judge would be asked."""
        import torch

        was_training = model.training
        model.eval()
        with torch.inference_mode():
            free = self._replies(model, self._free)
            read = self._prompts.inferred
            inferred = [read(value, is_opened=True) for value in self._values(model)]
            per_pair = self._likenesses([text or "" for text in inferred])
            per_pair["readability"] = [float(read(reply) is not None) for reply in free]
            per_pair["likelihood_gain"] = [
                _mean_logprob(model, given) - _mean_logprob(model, alone)
                for given, alone in zip(self._with, self._without, strict=True)
            ]
        model.train(was_training)
        return Measured(per_pair, inferred)

    def baselines(self) -> dict[str, dict[str, float]]:
        """What needs no model: the response itself as the inferred instruction, and another pair's instruction."""
        responses = self._likenesses([pair.response for pair in self.pairs])
        others = [f1_score(other, own).f1 for own, other, *_ in self._line_ups]
        return {
            "the response itself": means(responses),
            "another instruction": means({"f1": others}) | {"retrieval": 1 / LINE_UP},
        }

    def _likenesses(self, inferred: Sequence[str]) -> dict[str, list[float]]:
        """F1 and retrieval of each inferred instruction."""
        likeness = [
            [f1_score(text, instruction).f1 for instruction in line_up]
            for text, line_up in zip(inferred, self._line_ups, strict=True)
        ]
        return {"f1": [own for own, *_ in likeness], "retrieval": [credit_of_own(scores) for scores in likeness]}

    def _values(self, model: Any) -> list[str]:
        """What a server returns that opens the replies: all before the first text that ends the value."""
        ends = re.compile("|".join(map(re.escape, self._prompts.form.stop)))
        return [ends.split(reply, 1)[0] for reply in self._replies(model, self._opened)]

    def _replies(self, model: Any, prompts: Sequence[str]) -> list[str]:
        """Greedy replies, in the order of the prompts; those of like length are generated together."""
        ids = self._tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        order = sorted(range(len(prompts)), key=lambda number: len(ids[number]))
        lengths = [len(ids[number]) + self._max_reply_tokens for number in order]
        found: dict[int, str] = {}
        for part in _parts(lengths):
            numbers = order[part]
            replies = self._generate(model, [ids[number] for number in numbers])
            found.update(zip(numbers, replies, strict=True))
        return [found[number] for number in range(len(prompts))]

    def _generate(self, model: Any, prompts: Sequence[list[int]]) -> list[str]:
        tokenizer = self._tokenizer
        inputs = tokenizer.pad({"input_ids": list(prompts)}, padding_side="left", return_tensors="pt").to(model.device)
        output = model.generate(
            **inputs,
            max_new_tokens=self._max_reply_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
        )
        replies: list[str] = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return replies


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Runs of ascending lengths that hold at most `TOKENS_AT_ONCE` when padded to their longest; at least one each."""
    start = 0
    for end, length in enumerate(lengths):
        if end > start and (end - start + 1) * length > TOKENS_AT_ONCE:
            yield slice(start, end)
            start = end
    if lengths:
        yield slice(start, len(lengths))


def _mean_logprob(model: Any, lesson: Lesson) -> float:
    """Mean log-probability of a lesson's reply, in nats per token."""
    import torch

    ids = torch.tensor([lesson.ids], device=model.device)
    target = ids[0, lesson.start :]
    logits = model(input_ids=ids, logits_to_keep=len(target) + 1).logits[0, :-1].float()
    return float(logits.log_softmax(-1).gather(-1, target[:, None]).mean())


def _line_up(instruction: str, pairs: Sequence[Pair]) -> list[str]:
    """An instruction, first, and others drawn at random: the same ones for the same pairs, whatever their order."""
    others = sorted({pair.instruction for pair in pairs} - {instruction})
    return [instruction, *random.Random(ascii(instruction)).sample(others, LINE_UP - 1)]


def credit_of_own(scores: Sequence[float]) -> float:
    """What a line-up counts whose first score is the own one: 1 where it is the highest, 1/k in a tie of k, else 0."""
    own, *others = scores
    return 0.0 if max(others) > own else 1 / (1 + others.count(own))


def means(per_pair: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each column, and its standard error as `<name>_se`."""
    figures = {}
    for name, values in per_pair.items():
        figures[name] = fmean(values)
        figures[f"{name}_se"] = stdev(values) / math.sqrt(len(values))
    return figures
