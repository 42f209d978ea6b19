"""Token F1: how alike the inferred and the true instruction are.

The formula is SQuAD's, as FLIP uses it (arXiv 2602.13551): lowercase, remove ASCII punctuation, remove the
articles a, an and the, split on white space, then compare the two bags of tokens.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

_ARTICLES = ("a", "an", "the")
_NONE = (0,) * len(_ARTICLES)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = string.punctuation.encode()
_PUNCTUATION_RUN = re.compile(f"[{re.escape(string.punctuation)}]+")
_WHITE_SPACE = string.whitespace.encode()
# ASCII text takes one pass over its bytes. str.split() also splits at 0x1c to 0x1f, so they become spaces here too.
_LOWER = bytes.maketrans(
    string.ascii_uppercase.encode() + b"\x1c\x1d\x1e\x1f", string.ascii_lowercase.encode() + b"    "
)


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

    counts: dict[str, int]
    size: int


@lru_cache(maxsize=1024)
def _bag_of_tokens(text: str) -> _Bag:
    counts = {**Counter(_tokens(text)), **dict.fromkeys(_ARTICLES, 0)}
    return _Bag(counts, sum(counts.values()))


def _tokens(text: str) -> list[str]:
    """The formula's tokens, with the articles that are a whole token still among them."""
    if text.isascii():
        plain = text.encode().translate(_LOWER, _PUNCTUATION)
        tokens = plain.decode().split()
        if plain.translate(None, _WHITE_SPACE).isalnum():
            return tokens
    else:
        tokens = _PUNCTUATION_RUN.sub("", text.lower()).split()
    # The formula goes by word boundaries: a dash or a curly quote sets off an article inside a token as well.
    if _ARTICLE.search(" ".join(token for token in tokens if not token.isalnum())):
        return _ARTICLE.sub(" ", " ".join(tokens)).split()
    return tokens
