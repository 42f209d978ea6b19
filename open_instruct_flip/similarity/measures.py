"""Other measures of likeness than token F1, each from the library that defines it and loaded at its first use.

F1 is FLIP's; the others are for comparison (the authors tried BLEU, ROUGE-L, BERTScore and the cosine of RoBERTa's
mean-pooled states, see `metrics.py` of their repository). Every measure gives 1 for equal texts.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal, get_args

from open_instruct_flip.errors import MissingDependencyError, UsageError
from open_instruct_flip.similarity.f1 import f1_score
from open_instruct_flip.similarity.scripts import is_unspaced

SimilarityName = Literal["f1", "precision", "recall", "bleu", "rouge_l", "chrf", "embedding"]
SIMILARITIES: tuple[SimilarityName, ...] = get_args(SimilarityName)
DEFAULT_EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_NEEDS = {
    "bleu": ("sacrebleu", "sacrebleu"),
    "chrf": ("sacrebleu", "sacrebleu"),
    "rouge_l": ("rouge_score", "rouge-score"),
    "embedding": ("sentence_transformers", "sentence-transformers"),
}
_ENCODER = threading.Lock()
_WORD_MEASURES = frozenset({"f1", "precision", "recall", "bleu", "rouge_l"})
UNSPACED_REMEDY = "token F1 takes a clause without spaces for one word; --similarity chrf compares characters"

logger = logging.getLogger(__name__)


def similarity(
    name: SimilarityName,
    inferred: str,
    instruction: str,
    embedding_model: str = DEFAULT_EMBEDDING_MODEL,
    embedding_device: str = "cpu",
) -> float:
    """How alike the inferred and the true instruction are, in [0, 1].

    Args:
        name: The measure, see `docs/judges.md`.
        inferred: What the judge took the instruction to be.
        instruction: The true instruction.
        embedding_model: Sentence-transformers model for "embedding": a hub name or a folder.
        embedding_device: Where that model runs, as torch names it. A GPU is the policy's unless it is named here.

    Raises:
        MissingDependencyError: The measure's library is not installed.
        UsageError: There is no such measure, or the embedding model can't be loaded.
        FloatingPointError: The embedding model gave no number.

    Example:
        >>> round(similarity("recall", "Define soil.", "what is soil degradation?"), 3)
        0.25
    """
    check_available(name)
    match name:
        case "f1" | "precision" | "recall":
            value: float = getattr(f1_score(inferred, instruction), name)
        case "bleu":
            value = _bleu(inferred, instruction)
        case "rouge_l":
            value = _rouge_l()(instruction, inferred)
        case "chrf":
            value = _chrf()(inferred, instruction)
        case "embedding":
            value = _cosine(inferred, instruction, embedding_model, embedding_device)
    if math.isnan(value):
        raise FloatingPointError(
            f"--similarity {name} is no number: {embedding_model} on {embedding_device} overflows or is broken"
        )
    return min(1.0, max(0.0, value))


def check_similarity(name: str) -> None:
    """Raise UsageError unless `name` is a measure."""
    if name not in SIMILARITIES:
        raise UsageError(f"--similarity is one of {', '.join(SIMILARITIES)}, got {name!r}")


def check_available(name: str) -> None:
    """Raise UsageError unless `name` is a measure, MissingDependencyError where its library is not installed."""
    check_similarity(name)
    module, package = _NEEDS.get(name, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"--similarity {name} needs {package}: pip install {package}")


def warn_where_words_mislead(name: str, instruction: str) -> None:
    """Log once per process that a measure of words is asked about a script without spaces between them."""
    if name in _WORD_MEASURES and is_unspaced(instruction):
        _warn_once()


@cache
def _warn_once() -> None:
    logger.warning("an instruction is written without spaces between words: %s", UNSPACED_REMEDY)


def _bleu(inferred: str, instruction: str) -> float:
    """Sentence BLEU without its brevity penalty, as the authors used it.

    sacrebleu's 13a tokens in lower case, n-grams up to 4 or as many as the text has, counts of zero smoothed by
    halving ("exp").
    """
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(lowercase=True, effective_order=True).sentence_score(inferred, [instruction])
    # Told that both texts are of the same length, the formula leaves its penalty out.
    length = score.sys_len
    even = BLEU.compute_bleu(score.counts, score.totals, length, length, smooth_method="exp", effective_order=True)
    return float(even.score) / 100


@lru_cache(maxsize=1)
def _rouge_l() -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    return lambda instruction, inferred: float(scorer.score(instruction, inferred)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _chrf() -> Callable[[str, str], float]:
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF(lowercase=True)
    return lambda inferred, instruction: float(scorer.sentence_score(inferred, [instruction]).score) / 100


def _cosine(inferred: str, instruction: str, model: str, device: str) -> float:
    """Cosine of the two texts' embeddings; opposite ones count as unlike."""
    # Judges compare in threads: without the lock each would load the model, and a tokenizer serves one at a time.
    with _ENCODER:
        encoder = _encoder(model, device)
        ours, theirs = encoder.encode([inferred, instruction], normalize_embeddings=True, show_progress_bar=False)
    return float(ours @ theirs)


@lru_cache(maxsize=1)
def _encoder(model: str, device: str) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(model, device=device)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:  # torch's own words for a device it lacks
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--embedding_model {model!r} can't be loaded on --embedding_device {device!r}: {reason}; "
            "give a folder or a hub name, and a device such as cpu or cuda:1"
        ) from error
