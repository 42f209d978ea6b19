"""The datasets of a run: can they be trained on, and which judges do their labels ask for. Imports Open Instruct."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from open_instruct import ground_truth_utils

from open_instruct_flip.data.labels import served_labels
from open_instruct_flip.data.validate import DatasetFinding, validate_dataset
from open_instruct_flip.errors import UsageError
from open_instruct_flip.integrations.open_instruct.options import UPSTREAM_FLAGS, FlipOptions
from open_instruct_flip.integrations.open_instruct.verifier import JudgeVerifier
from open_instruct_flip.judges.base import Judge, refuse_foreign_options
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rows.files import read_rows

logger = logging.getLogger(__name__)

FALLBACK_JUDGE = "flip"
"""Asked where the labels of a dataset can't be read."""
SHOWN_ROWS = 10


def needed_judges(config: Any, options: FlipOptions) -> list[type[Judge]]:
    """Check the training and evaluation datasets, and name the judges of this package that their labels ask for.

    Args:
        config: Open Instruct's data loader configuration.
        options: Ours.

    Raises:
        UsageError: Rows that get no right reward, with their numbers; a judge that can't be imported; or an option
            that none of these judges has.
    """
    verifiers = ground_truth_utils.build_all_verifiers(
        SimpleNamespace(seed=0), dataclasses.replace(config, remap_verifier=None)
    )
    served = served_labels(verifiers, config.remap_verifier)
    labels: set[str] = set()
    unread = []
    training, evaluation = _entries(config)
    for name, split in dict.fromkeys([*training, *evaluation]):
        findings = _findings(name, split, verifiers, config.remap_verifier, options)
        if findings is None:
            unread.append(name)
            continue
        _refuse(name, findings)
        found = set(_labels(name, split))
        labels |= found
        if (name, split) in evaluation:
            _warn_of_single_responses(name, _judges(found, verifiers, served))
    judges = _judges(labels, verifiers, served) or ([judge_class(FALLBACK_JUDGE)] if unread else [])
    if not unread:
        _check_options(judges, options.judge_options)
    return judges


def _findings(
    name: str, split: str, verifiers: Iterable[str], remap_verifier: str | None, options: FlipOptions
) -> list[DatasetFinding] | None:
    """What is wrong with a dataset; None, after a warning, where it can't be read."""
    if Path(name).is_file():
        raise UsageError(f"Open Instruct loads local datasets by folder: give {Path(name).parent}, not {name}")
    try:
        return validate_dataset(
            name,
            split=split,
            verifier_labels=verifiers,
            remap_verifier=remap_verifier,
            flip_target=options.judge_options.get("flip_target", "last_user"),
        )
    except UsageError as error:
        if Path(name).exists():
            raise
        logger.warning("%s is not checked, Open Instruct may still have it cached: %s", name, error)
        return None


def _judges(labels: Iterable[str], verifiers: Mapping[str, Any], served: Mapping[str, str]) -> list[type[Judge]]:
    """The judges of this package that labels ask for."""
    asked = [verifiers[served[label]] for label in sorted(labels) if label in served]
    names = dict.fromkeys(verifier.judge_type for verifier in asked if isinstance(verifier, JudgeVerifier))
    return [judge_class(name) for name in names]


def _warn_of_single_responses(name: str, judges: Iterable[type[Judge]]) -> None:
    for judge in judges:
        if judge.compares_group:
            logger.warning(
                "evaluation on %s: the %s judge compares responses and can't judge a single one; with "
                "--eval_pass_at_k 1, the default, eval/scores are stand-ins (eval/flip/failure_rate is 1)",
                name,
                judge.name,
            )


def _labels(name: str, split: str) -> Iterator[str]:
    """The labels of a dataset's rows, in lower case as Open Instruct compares them."""
    for row in read_rows(name, split=split, columns=("dataset",)):
        labels = row.columns["dataset"]
        yield from (label.lower() for label in ([labels] if isinstance(labels, str) else labels))


def _check_options(judges: Sequence[type[Judge]], given: Mapping[str, Any]) -> None:
    """Refuse an option that none of the judges has; Open Instruct's flags have values whatever is judged."""
    try:
        refuse_foreign_options(judges, given.keys() - UPSTREAM_FLAGS.keys())
    except UsageError as error:
        raise UsageError(f"of the judges that the datasets' labels ask for: {error}") from None


def _entries(config: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Name and split of each entry of the mixers, for training and for evaluation; one split may stand for all."""
    training, evaluation = (
        list(zip(mixer[::2], splits * len(mixer[::2]) if len(splits) == 1 else splits, strict=False))
        for mixer, splits in (
            (config.dataset_mixer_list, config.dataset_mixer_list_splits),
            (config.dataset_mixer_eval_list, config.dataset_mixer_eval_list_splits),
        )
    )
    return training, evaluation


def _refuse(name: str, findings: Sequence[DatasetFinding]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in findings:
        if finding.severity == "warning":
            logger.warning("%s", _line(finding))
    if errors:
        listed = "; ".join(_line(finding) for finding in errors)
        raise UsageError(f"the dataset {name} can't be trained on: {listed} (`flip data validate {name}` shows all)")


def _line(finding: DatasetFinding) -> str:
    shown = ", ".join(map(str, finding.rows[:SHOWN_ROWS]))
    more = f" and {len(finding.rows) - SHOWN_ROWS} more" if len(finding.rows) > SHOWN_ROWS else ""
    where = f" row{'s' * (len(finding.rows) > 1)} {shown}{more}" if finding.rows else ""
    return f"{finding.source}{where}: {finding.message}"
