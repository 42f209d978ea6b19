"""Token F1 against the paper's vectors, the formula written down plainly, and its properties."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from open_instruct_flip.similarity.f1 import f1_score, is_scorable

PIECES = [
    "a",
    "an",
    "the",
    "The",
    "soil",
    "Soil",
    "tea",
    "the-a",
    "a—b",
    "’a’",
    "naïve",
    "東京",
    "Straße",
    "x1",
    "don't",
]
GAPS = [" ", "  ", "\n", "\t", "\x1c", "\x85", "\xa0", "-", "—", "'", '"', "", ".", ", "]
texts = st.lists(st.sampled_from(PIECES + GAPS)).map("".join) | st.text()


def plain_tokens(text: str) -> list[str]:
    """SQuAD's normalisation, step by step as its evaluation script describes it."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def plain_f1(inferred: str, instruction: str) -> tuple[float, float, float]:
    ours, theirs = plain_tokens(inferred), plain_tokens(instruction)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if common == 0:
        return 0.0, 0.0, 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall), precision, recall


@pytest.mark.parametrize(
    ("inferred", "f1"), [("Define 'soil degradation'.", 0.571), ("Explain soil degradation, and its causes.", 0.4)]
)
def test_the_papers_vectors(inferred: str, f1: float) -> None:
    assert round(f1_score(inferred, "what is soil degradation?").f1, 3) == f1


@pytest.mark.parametrize(
    ("inferred", "instruction", "expected"),
    [
        ("Write a poem", "write the poem!", (1.0, 1.0, 1.0)),
        ("poem poem poem", "poem", (0.5, 1 / 3, 1.0)),
        ("", "poem", (0.0, 0.0, 0.0)),
        ("the", "the", (0.0, 0.0, 0.0)),
        ("don't", "dont", (1.0, 1.0, 1.0)),
        ("a—b", "—b", (1.0, 1.0, 1.0)),  # the dash is no ASCII punctuation, but sets the article off
        ("Tokio", "東京", (0.0, 0.0, 0.0)),
    ],
)
def test_figures_worked_out_by_hand(inferred: str, instruction: str, expected: tuple[float, float, float]) -> None:
    assert f1_score(inferred, instruction) == pytest.approx(expected)


@settings(deadline=None)
@given(texts, texts)
@example("a\x1cb", "b")
@example("the\x1f", "a")
@example("İstanbul", "i̇stanbul")
def test_equals_the_plain_formula(inferred: str, instruction: str) -> None:
    assert f1_score(inferred, instruction) == pytest.approx(plain_f1(inferred, instruction))


@settings(deadline=None)
@given(texts, texts)
def test_is_symmetric_and_lies_between_0_and_1(one: str, other: str) -> None:
    there, back = f1_score(one, other), f1_score(other, one)
    assert there.f1 == pytest.approx(back.f1)
    assert (there.precision, there.recall) == pytest.approx((back.recall, back.precision))
    assert all(0.0 <= figure <= 1.0 for figure in there)


@settings(deadline=None)
@given(texts)
def test_is_1_for_equal_texts_with_a_token(text: str) -> None:
    assert f1_score(text, text).f1 == (1.0 if is_scorable(text) else 0.0)
    assert is_scorable(text) == bool(plain_tokens(text))
