"""How much of its instruction a response repeats word for word: the known way to raise a FLIP reward without merit."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Literal

from open_instruct_flip.similarity.scripts import UNSPACED

SPAN_WORDS = 5
"""A shorter run of common words says nothing."""
UNSPACED_PER_WORD = 2
"""How many characters of a script without spaces count as one word: most Chinese words have two."""

_UNSPACED = re.compile(f"[{UNSPACED}]")

NGram = tuple[str, ...]

CopyGuard = Literal["off", "mask", "penalize"]
"""What is done about a response that quotes its instruction: nothing, hide the quotes, or scale the reward down."""


def copy_rate(response: str, instruction: str) -> float:
    """Share of the instruction's distinct 5-grams that stand in the response, in [0, 1].

    Words are compared without case and punctuation. Of scripts without spaces two characters count as a word. An
    instruction of fewer than 5 words has no 5-gram: 0.0.

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
    return bool(_spans(words)) and f" {' '.join(words)} " in _spoken(source)


def mask_copies(response: str, instruction: str) -> str:
    """The response without its runs of at least 5 words that stand in the instruction in the same order.

    Empty where only marks are left of it, such as the full stop or the quotes of a copied sentence.

    Example:
        >>> mask_copies("Sure, write a haiku about the sea: Waves come.", "Write a haiku about the sea.")
        'Sure, : Waves come.'
    """
    wanted = _wanted(instruction)
    words = list(_word().finditer(_plain(response)))
    spoken = [word.group().casefold() for word in words]
    pieces, end = [], 0
    for first, last in _runs(spoken, wanted):
        pieces.append(response[end : words[first].start()])
        end = words[last].end()
    left = "".join([*pieces, response[end:]])
    return left if not pieces or _word().search(_plain(left)) else ""


def _runs(words: list[str], wanted: frozenset[NGram]) -> list[tuple[int, int]]:
    """First and last word of each longest run that wanted 5-grams cover."""
    runs: list[tuple[int, int]] = []
    for start, end in _spans(words):
        if tuple(words[start:end]) not in wanted:
            continue
        if runs and start <= runs[-1][1]:
            runs[-1] = (runs[-1][0], end - 1)
        else:
            runs.append((start, end - 1))
    return runs


# Many texts are looked for in the few sections of a prompt.
@lru_cache(maxsize=64)
def _spoken(source: str) -> str:
    return f" {' '.join(_words(source))} "


# A group's responses are all measured against one instruction.
@lru_cache(maxsize=64)
def _wanted(instruction: str) -> frozenset[NGram]:
    return frozenset(_ngrams(_words(instruction)))


def _ngrams(words: list[str]) -> set[NGram]:
    if _are_spaced(words):  # every rollout is measured, and this is twice as fast
        return set(zip(*(words[start:] for start in range(SPAN_WORDS)), strict=False))
    return {tuple(words[start:end]) for start, end in _spans(words)}


def _spans(words: list[str]) -> list[tuple[int, int]]:
    """Where the 5-gram that begins at each word begins and ends."""
    if _are_spaced(words):
        return list(zip(range(len(words)), range(SPAN_WORDS, len(words) + 1), strict=False))
    sizes = [1 if _UNSPACED.match(word) else UNSPACED_PER_WORD for word in words]
    spans, end, size = [], 0, 0
    for start in range(len(words)):
        while size < SPAN_WORDS * UNSPACED_PER_WORD and end < len(words):
            size += sizes[end]
            end += 1
        if size < SPAN_WORDS * UNSPACED_PER_WORD:
            break
        spans.append((start, end))
        size -= sizes[start]
    return spans


def _are_spaced(words: list[str]) -> bool:
    return not _UNSPACED.search("".join(words))


def _words(text: str) -> list[str]:
    """The words of a text in lower case, and each character of a script without spaces as one."""
    return _word().findall(_plain(text).casefold())


def _plain(text: str) -> str:
    """A text of the same length without what only typography changes: apostrophes, and the _ of italics."""
    return text.replace("’", "'").replace("_", " ")


@cache
def _word() -> re.Pattern[str]:
    # Vowel signs and accents that are characters of their own belong to their word; `\w` does not match them.
    marks = "".join(sign for sign in map(chr, range(0x300, 0x10000)) if unicodedata.category(sign).startswith("M"))
    letters = rf"[^\W{UNSPACED}]+"
    return re.compile(rf"[{UNSPACED}][{marks}]*|{letters}(?:[{marks}]+(?:{letters})?|'{letters})*")
