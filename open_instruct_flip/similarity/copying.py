"""How much of its instruction a response repeats word for word: the known way to raise a FLIP reward without merit."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

SPAN_WORDS = 5
"""A shorter run of common words says nothing."""

_WORD = re.compile(r"\w+(?:['’]\w+)*")

NGram = tuple[str, ...]

CopyGuard = Literal["off", "mask", "penalize"]
"""What is done about a response that quotes its instruction: nothing, hide the quotes, or scale the reward down."""


def copy_rate(response: str, instruction: str) -> float:
    """Share of the instruction's distinct 5-grams that stand in the response, in [0, 1].

    Words are compared without case and punctuation. An instruction of fewer than 5 words has no 5-gram: 0.0.

    Example:
        >>> copy_rate("You asked: write a haiku about the sea. Waves...", "Write a haiku about the sea")
        1.0
    """
    wanted = _wanted(instruction)
    return len(wanted & _ngrams(_words(response))) / len(wanted) if wanted else 0.0


def stands_in(text: str, source: str) -> bool:
    """Whether all of a text of at least 5 words stands in another, compared without case and punctuation.

    Example:
        >>> stands_in("write a haiku about rain", "Write a haiku about rain. Then explain it.")
        True
    """
    words = _words(text)
    return len(words) >= SPAN_WORDS and f" {' '.join(words)} " in _spoken(source)


def mask_copies(response: str, instruction: str) -> str:
    """The response without its runs of at least 5 words that stand in the instruction in the same order.

    Example:
        >>> mask_copies("Sure, write a haiku about the sea: Waves come.", "Write a haiku about the sea.")
        'Sure, : Waves come.'
    """
    wanted = _wanted(instruction)
    words = list(_WORD.finditer(response))
    spoken = [word.group().casefold() for word in words]
    pieces, end = [], 0
    for first, last in _runs(spoken, wanted):
        pieces.append(response[end : words[first].start()])
        end = words[last].end()
    return "".join([*pieces, response[end:]])


def _runs(words: list[str], wanted: frozenset[NGram]) -> list[tuple[int, int]]:
    """First and last word of each longest run that wanted 5-grams cover."""
    runs: list[tuple[int, int]] = []
    for start in range(len(words) - SPAN_WORDS + 1):
        if tuple(words[start : start + SPAN_WORDS]) not in wanted:
            continue
        last = start + SPAN_WORDS - 1
        if runs and start <= runs[-1][1]:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((start, last))
    return runs


# Many texts are looked for in the few sections of a prompt.
@lru_cache(maxsize=64)
def _spoken(source: str) -> str:
    return f" {' '.join(_words(source))} "


# A group's responses are all measured against one instruction.
@lru_cache(maxsize=64)
def _wanted(instruction: str) -> frozenset[NGram]:
    return frozenset(_ngrams(_words(instruction)))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _ngrams(words: list[str]) -> set[NGram]:
    return {tuple(words[i : i + SPAN_WORDS]) for i in range(len(words) - SPAN_WORDS + 1)}
