"""Token F1: how alike the inferred and the true instruction are.

The formula is SQuAD's, as FLIP uses it (arXiv 2602.13551): lowercase, remove ASCII punctuation, remove the
articles a, an and the, split on white space, then compare the two bags of tokens.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import filterfalse
from typing import Any, NamedTuple

_ARTICLES = (b"a", b"an", b"the")
_NONE = (0,) * len(_ARTICLES)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = string.punctuation.encode()
# str.split() also splits at 0x1c to 0x1f, which bytes.split() does not.
_LOWER = bytes.maketrans(
    string.ascii_uppercase.encode() + b"\x1c\x1d\x1e\x1f", string.ascii_lowercase.encode() + b"    "
)
_WORD_OR_SPACE = (string.ascii_letters + string.digits + string.whitespace).encode()


class TokenF1(NamedTuple):
    """Overlap of two bags of tokens, each figure in [0, 1]."""

    f1: float
    precision: float
    recall: float


def f1_score(inferred: str, instruction: str) -> TokenF1:
    """Token F1 of an inferred instruction against the true one.

    Texts without a common token, empty ones among them, have an F1 of 0.

    Args:
        inferred: What the judge took the instruction to be.
        instruction: The true instruction.

    Example:
        >>> round(f1_score("Define 'soil degradation'.", "what is soil degradation?").f1, 3)
        0.571
        >>> round(f1_score("Explain soil degradation, and its causes.", "what is soil degradation?").f1, 3)
        0.4
    """
    tokens = _tokens(inferred)
    # A group compares all its responses with one instruction, so that its bag is worth keeping.
    theirs = _bag_of_tokens(instruction)
    shared = Counter(filter(theirs.counts.__contains__, tokens))
    size = len(tokens) - sum(map(shared.pop, _ARTICLES, _NONE))
    common = sum(map(min, shared.values(), map(theirs.counts.__getitem__, shared)))
    if not common:
        return TokenF1(0.0, 0.0, 0.0)
    precision, recall = common / size, common / theirs.size
    return TokenF1(2 * precision * recall / (precision + recall), precision, recall)


def is_scorable(instruction: str) -> bool:
    """Whether an instruction has a token left to compare with; without one every F1 is 0, whatever was inferred."""
    return _bag_of_tokens(instruction).size > 0


class _Bag(NamedTuple):
    """How often each token stands in a text, articles at 0, and the number of tokens that are no articles."""

    counts: dict[bytes, int]
    size: int


@lru_cache(maxsize=1024)
def _bag_of_tokens(text: str) -> _Bag:
    counts = {**Counter(_tokens(text)), **dict.fromkeys(_ARTICLES, 0)}
    return _Bag(counts, sum(counts.values()))


def _tokens(text: str) -> list[bytes]:
    """The formula's tokens in UTF-8, in any order, with the articles that are a whole token still among them."""
    if "Σ" in text:  # the one letter whose lower case depends on what follows, punctuation included
        text = text.lower()
    # An ASCII byte is never part of another character in UTF-8, so that one pass over the bytes does for any text.
    plain = text.encode("utf-8", "surrogatepass").translate(_LOWER, _PUNCTUATION)
    tokens = plain.split()
    if not plain.translate(None, _WORD_OR_SPACE):
        return tokens
    words = b" ".join(filterfalse(_is_word, tokens)).decode("utf-8", "surrogatepass").lower().split()
    # The formula goes by word boundaries: a dash or a curly quote sets off an article inside a token as well.
    compounds = _ARTICLE.sub(" ", " ".join(filterfalse(str.isalnum, words)))
    rest = " ".join([*filter(str.isalnum, words), compounds])
    return [*filter(_is_word, tokens), *rest.encode("utf-8", "surrogatepass").split()]


_is_word: Callable[[Any], bool] = bytes.isalnum
