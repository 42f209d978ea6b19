"""Verifier labels: what may stand in the `dataset` column of a row, and which judge or checker it calls."""

from __future__ import annotations

from collections.abc import Iterable

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.registry import importable_judges, judge_class, pair_names

FLIP_LABEL = FlipJudge.label()
BASELINE_LABEL = "general-quality"

# Names that Open Instruct's own verifiers register (ground_truth_utils.py and judge_utils.py, v0.2.0 to August 2026).
OPEN_INSTRUCT_LABELS = frozenset(
    [
        *("code", "code_stdio", "flan", "gsm8k", "ifeval", "ifeval_old", "math", "max_length", "passthrough"),
        *("puzzle", "re_search", "re_search_f1", "rubric", "strict_math", "string_f1", "string_matcher"),
        *("up_to_max_length", BASELINE_LABEL, "general-quality_rubric", "general-quality_ref", "general-safety"),
        *("general-factuality", "general-creative_writing", "general-refusal"),
        "general-web_instruct_general_verifier",
    ]
)


def known_labels() -> frozenset[str]:
    """The labels of Open Instruct's verifiers and of every judge of the registry, mixtures of two included."""
    return OPEN_INSTRUCT_LABELS | {judge.label() for judge in _judges()}


def labels_of_hidden_instructions() -> frozenset[str]:
    """Labels whose ground truth is the instruction itself; for other labels it may be a reference answer."""
    return frozenset(judge.label() for judge in _judges() if not judge.sees_instruction)


def _judges() -> list[type[Judge]]:
    return [*importable_judges(), *map(judge_class, pair_names())]


def served_labels(labels: Iterable[str], remap_verifier: str | None = None) -> dict[str, str]:
    """Each label that gets a reward, in lower case as Open Instruct compares them, and the verifier behind it.

    Args:
        labels: Names of the registered verifiers.
        remap_verifier: Open Instruct's `--remap_verifier`, as "old=new": rows labelled `old` go to verifier `new`.

    Raises:
        UsageError: The remap is malformed, or its new name is no verifier.

    Example:
        >>> served_labels(["general-flip"], "wildchat=General-Flip")
        {'general-flip': 'general-flip', 'wildchat': 'general-flip'}
    """
    served = {label.lower(): label.lower() for label in labels}
    if not remap_verifier:
        return served
    old, separator, new = (part.strip().lower() for part in remap_verifier.partition("="))
    if not (old and separator and new) or "=" in new:
        raise UsageError(f"--remap_verifier takes old=new, got {remap_verifier!r}")
    if new not in served:
        raise UsageError(f"--remap_verifier {remap_verifier}: no verifier is called {new!r}; known: {listed(served)}")
    return served | {old: new}


def listed(labels: Iterable[str]) -> str:
    """The labels in one line, for a message."""
    return ", ".join(sorted(labels))
