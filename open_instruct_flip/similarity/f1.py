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

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


class TokenF1(NamedTuple):
    """Overlap of two bags of tokens, each figure in [0, 1]."""

    f1: float
    precision: float
    recall: float


def f1_score(inferred: str, instruction: str) -> TokenF1:
    """Token F1 of an inferred instruction against the true one; 0 for texts without a common token.

    Example:
        >>> round(f1_score("Define 'soil degradation'.", "what is soil degradation?").f1, 3)
        0.571
    """
    ours, theirs = Counter(_tokens(inferred)), _bag(instruction)
    common = (ours & theirs).total()
    if not common:
        return TokenF1(0.0, 0.0, 0.0)
    precision, recall = common / ours.total(), common / theirs.total()
    return TokenF1(2 * precision * recall / (precision + recall), precision, recall)


def is_scorable(instruction: str) -> bool:
    """Whether an instruction has a token left to compare with; without one every F1 is 0, whatever was inferred."""
    return bool(_bag(instruction))


# A group compares all its responses with one instruction.
@lru_cache(maxsize=1024)
def _bag(text: str) -> Counter[str]:
    return Counter(_tokens(text))


def _tokens(text: str) -> list[str]:
    return _ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower())).split()
