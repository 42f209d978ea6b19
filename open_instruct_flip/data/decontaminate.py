"""Decontamination: no prompt may share a run of words with a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from open_instruct_flip.data.filters import user_turns, words
from open_instruct_flip.data.prompts import KNOWN_COLUMNS, BadRows, read_prompts
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import RowSource

REMEDY = "; a benchmark has to be read as a whole: correct or remove these rows"


class Benchmarks:
    """The word n-grams of benchmark prompts.

    A text shorter than n words is one gram as a whole, so that short benchmark prompts are found when they are equal.
    """

    def __init__(self, texts: Iterable[str], ngram: int) -> None:
        self._ngram = ngram
        self._grams = {gram for text in texts for gram in self._grams_of(text)}

    @classmethod
    def from_files(cls, paths: Iterable[str | Path], ngram: int) -> Benchmarks:
        """Read the user turns of files, or of all splits of folders or hub datasets.

        Raises:
            FlipError: A row fits no known shape.
            UsageError: One of them holds no word, or is a folder with files that are in no split.
        """
        benchmarks = cls((), ngram)
        for path in paths:
            grams = cls(_user_turns(path), ngram)._grams
            if not grams:
                raise UsageError(f"{path} holds no user turn that data could be kept away from")
            benchmarks._grams |= grams
        return benchmarks

    def __len__(self) -> int:
        return len(self._grams)

    def contain(self, text: str) -> bool:
        """Whether a text shares n words in a row with a benchmark prompt."""
        return any(gram in self._grams for gram in self._grams_of(text))

    def _grams_of(self, text: str) -> Iterator[str]:
        found = words(text)
        starts = range(max(1, len(found) - self._ngram + 1)) if found else ()
        for start in starts:
            yield " ".join(found[start : start + self._ngram])


def _user_turns(path: str | Path) -> Iterator[str]:
    columns = KNOWN_COLUMNS if Path(path).exists() else None
    for source in RowSource.find_all(path):
        for prompt in read_prompts(source.rows(columns), BadRows(remedy=REMEDY), multi_turn=True):
            yield from user_turns(prompt)
