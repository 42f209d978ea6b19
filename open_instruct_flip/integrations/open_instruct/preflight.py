"""What is checked before Ray starts: the flags, the datasets, and every judge endpoint. Imports Open Instruct."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from open_instruct import data_loader, ground_truth_utils
from open_instruct.utils import ArgumentParserPlus

from open_instruct_flip.client.probe import probe
from open_instruct_flip.conversation import Message
from open_instruct_flip.data.validate import Finding, validate_dataset
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.integrations.open_instruct.options import FlipOptions
from open_instruct_flip.judges.registry import judge_class

logger = logging.getLogger(__name__)

PROBE_JUDGES = ("flip", "pointwise")
PROBE_TURN: Message = {"role": "user", "content": "Name the capital of France and a river that flows through it."}
PROBE_RESPONSES = (
    "The capital of France is Paris, and the river Seine flows through it.",
    "Paris; the Seine.",
    "Paris is the capital. One of its rivers is the Bièvre, which runs underground today.",
)
SHOWN_ROWS = 10


def check_run(arguments: Sequence[str]) -> None:
    """Refuse a run that can't work, with the reason.

    Raises:
        UsageError: A flag's value, a row of a dataset, or a judge endpoint.
    """
    config = read_flags(arguments)
    options = FlipOptions.from_flags(config)
    if options.training.preflight:
        check_datasets(config, options)
        asyncio.run(probe_endpoints(options))


def read_flags(arguments: Sequence[str]) -> Any:
    """The data loader's configuration, which holds every flag that matters here; other flags are passed over."""
    parser = ArgumentParserPlus((data_loader.StreamingDataLoaderConfig,), allow_abbrev=False)
    try:
        config, _ = parser.parse_args_into_dataclasses(
            args=list(arguments), return_remaining_strings=True, look_for_args_file=False
        )
    except (AssertionError, ValueError) as error:
        raise UsageError(str(error)) from error
    return config


def check_datasets(config: Any, options: FlipOptions) -> None:
    """Raise UsageError with row numbers when a training or evaluation dataset has rows that get no right reward."""
    builder = dataclasses.replace(config, remap_verifier=None)
    labels = ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=0), builder)
    for name, split in dict.fromkeys(_datasets(config)):
        if Path(name).is_file():
            raise UsageError(f"Open Instruct loads local datasets by folder: give {Path(name).parent}, not {name}")
        try:
            findings = validate_dataset(
                name,
                split=split,
                verifier_labels=labels,
                remap_verifier=config.remap_verifier,
                flip_target=options.judge_options.get("flip_target", "last_user"),
            )
        except UsageError as error:
            if Path(name).exists() or "remap" in str(error):
                raise
            logger.warning("%s is not checked, Open Instruct may still have it cached: %s", name, error)
            continue
        _refuse(name, findings)


def _datasets(config: Any) -> Iterator[tuple[str, str]]:
    """Name and split of each entry of the mixers, where one split may stand for all entries."""
    for mixer, splits in (
        (config.dataset_mixer_list, config.dataset_mixer_list_splits),
        (config.dataset_mixer_eval_list, config.dataset_mixer_eval_list_splits),
    ):
        names = mixer[::2]
        yield from zip(names, splits * len(names) if len(splits) == 1 else splits, strict=False)


def _refuse(name: str, findings: Sequence[Finding]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in findings:
        if finding.severity == "warning":
            logger.warning("%s", _line(finding))
    if errors:
        listed = "; ".join(_line(finding) for finding in errors)
        raise UsageError(f"the dataset {name} can't be trained on: {listed} (`flip data validate {name}` shows all)")


def _line(finding: Finding) -> str:
    shown = ", ".join(map(str, finding.rows[:SHOWN_ROWS]))
    more = f" and {len(finding.rows) - SHOWN_ROWS} more" if len(finding.rows) > SHOWN_ROWS else ""
    where = f" row{'s' * (len(finding.rows) > 1)} {shown}{more}" if finding.rows else ""
    return f"{finding.source}{where}: {finding.message}"


async def probe_endpoints(options: FlipOptions) -> None:
    """Ask every endpoint about a rollout.

    Raises:
        UsageError: An endpoint can't be reached, does not serve the model, or gives nothing a judge can read.
    """
    try:
        endpoints = options.client.endpoints()
    except UsageError as error:
        raise UsageError(_with_our_flags(str(error))) from error
    reasons = await asyncio.gather(*(_no_verdict(options, endpoint) for endpoint in endpoints))
    for endpoint, reason in zip(endpoints, reasons, strict=True):
        if reason is not None:
            where = endpoint or "its provider"
            model = options.client.llm_judge_model
            raise UsageError(f"the judge {model} at {where} gave no verdict: {_with_our_flags(reason)}")
        logger.info("judge endpoint %s answers", endpoint)


async def _no_verdict(options: FlipOptions, endpoint: str | None) -> str | None:
    """Why this endpoint gives no verdict, or None when it gives one.

    A model may be made for one kind of judge only, so each kind is asked until one verdict can be read.
    """
    client = dataclasses.replace(options.client, api_base=endpoint)
    reasons = []
    for name in PROBE_JUDGES:
        kind = judge_class(name)
        judge = kind.from_config(options.judge_config(kind), client)
        try:
            rewards = await judge.score([PROBE_TURN], PROBE_RESPONSES)
        except JudgeUnusableError as error:
            reasons.append(str(error))
            break
        if any(reward.error is None for reward in rewards):
            return None
        reasons.append(f"{rewards[0].error}: {rewards[0].detail}")
    # What the endpoint says of itself explains more than a request that failed.
    reports = await probe(client)
    return next((report.problem for report in reports if report.problem), reasons[0])


def _with_our_flags(text: str) -> str:
    return re.sub(r"--(api_base|api_key_env)\b", r"--flip_\1", text)
