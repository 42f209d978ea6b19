"""Near duplicates: instructions that share most of their word pairs."""

from __future__ import annotations

import itertools

from open_instruct_flip.data.filters import words
from open_instruct_flip.errors import MissingDependencyError, install_line

NUM_PERMUTATIONS = 128
MAX_INDEX_THRESHOLD = 0.9
"""The index has no setting for higher ones; it may propose more than are kept apart in the end."""


class NearDuplicates:
    """Instructions met so far, and whether a new one is nearly one of them.

    MinHash LSH (datasketch) finds the likely ones, the exact Jaccard similarity decides: nothing below the threshold is
    ever dropped, and a few just above it may slip through. Costs about 10 kB per remembered instruction.
    """

    def __init__(self, threshold: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise MissingDependencyError(f"near duplicates need datasketch: {install_line('data')}") from error
        self._threshold = threshold
        self._empty = MinHash(num_perm=NUM_PERMUTATIONS)
        self._index = MinHashLSH(threshold=min(threshold, MAX_INDEX_THRESHOLD), num_perm=NUM_PERMUTATIONS)
        self._texts: list[str] = []

    def add(self, text: str) -> bool:
        """Remember an instruction; True, without remembering it, when it is nearly an earlier one."""
        pairs = word_pairs(text)
        minhash = self._empty.copy()
        minhash.update_batch([pair.encode() for pair in sorted(pairs)])
        likely = self._index.query(minhash)
        if any(jaccard(pairs, word_pairs(self._texts[number])) >= self._threshold for number in likely):
            return True
        self._index.insert(len(self._texts), minhash, check_duplication=False)
        self._texts.append(text)
        return False


def word_pairs(text: str) -> set[str]:
    """Neighbouring words of a text; the words themselves when there are fewer than two.

    Example:
        >>> sorted(word_pairs("Tell me a story"))
        ['a story', 'me a', 'tell me']
    """
    found = words(text)
    return {" ".join(pair) for pair in itertools.pairwise(found)} or set(found)


def jaccard(left: set[str], right: set[str]) -> float:
    """Shared elements over all elements; 1 for two empty sets."""
    return len(left & right) / len(left | right) if left or right else 1.0
