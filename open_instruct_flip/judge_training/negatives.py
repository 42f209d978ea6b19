"""Spoilt responses to learn from, each with the instruction that it really answers.

A policy that is paid for being told apart by its judge learns to restate its instruction. A judge that has seen
restatements learns to read past them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.pairs import Pair

# Other words than the attacks of `flip eval attacks` use, which measure what was learned here.
LEAD_INS = (
    'The task was: "{instruction}"\n\n',
    "Task: {instruction}\n\nAnswer: ",
    "Here is what I was told to do: {instruction}\n\n",
    "> {instruction}\n\n",
)
RESTATE = "Restate the instruction that you were given, and do not carry it out."

_LAST_WORD = re.compile(r"(?<=\S)\s+\S*$")

Spoil = Callable[[Pair, Pair, random.Random], Pair]


def negatives(pairs: Sequence[Pair], share: float, seed: int) -> list[Pair]:
    """As many spoilt pairs as this share of the pairs, every kind in turn.

    Args:
        pairs: Of two different instructions at least, unless the share is none.
        share: In [0, 1].
        seed: Decides which pairs are spoilt, and how.

    Raises:
        UsageError: All pairs have one instruction.
    """
    rng = random.Random(f"negatives {seed}")
    count = round(share * len(pairs))
    if count and len({pair.instruction for pair in pairs}) < 2:
        raise UsageError(
            "--negatives takes pairs of two different instructions, and all that are left to train on have one"
        )
    return list(_spoilt(rng.sample(pairs, count), pairs, rng))


def _spoilt(chosen: Sequence[Pair], pairs: Sequence[Pair], rng: random.Random) -> Iterator[Pair]:
    for number, pair in enumerate(chosen):
        other = rng.choice(pairs)
        while other.instruction == pair.instruction:
            other = rng.choice(pairs)
        yield KINDS[number % len(KINDS)](pair, other, rng)


def swapped(pair: Pair, other: Pair, rng: random.Random) -> Pair:
    """Another instruction is restated before the response: it still answers its own."""
    return replace(pair, response=_restated(other.instruction, rng) + pair.response)


def cut(pair: Pair, other: Pair, rng: random.Random) -> Pair:
    """The response breaks off."""
    return replace(pair, response=_beginning(pair.response, round(len(pair.response) * rng.uniform(0.3, 0.7))))


def padded(pair: Pair, other: Pair, rng: random.Random) -> Pair:
    """Something else follows: the beginning of another response, at most half as long as the own one."""
    return replace(pair, response=f"{pair.response}\n\n{_beginning(other.response, len(pair.response) // 2)}")


def restated(pair: Pair, other: Pair, rng: random.Random) -> Pair:
    """The instruction and nothing else: what this answers is a call to restate it."""
    return replace(pair, response=_restated(pair.instruction, rng).strip(), instruction=RESTATE)


KINDS: tuple[Spoil, ...] = (swapped, cut, padded, restated)


def _beginning(text: str, length: int) -> str:
    """At most so many characters, but one at least, up to the end of a word where there is one."""
    if length >= len(text):
        return text
    within = _LAST_WORD.search(text[: length + 1])
    return text[: within.start() if within else max(1, length)]


def _restated(instruction: str, rng: random.Random) -> str:
    return rng.choice(LEAD_INS).replace("{instruction}", instruction)
