"""What is checked before Ray starts: flags, datasets, the judges that their labels ask for. Imports Open Instruct."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from open_instruct import data_loader
from open_instruct.utils import ArgumentParserPlus

from open_instruct_flip.client.probe import probe
from open_instruct_flip.client.together import together
from open_instruct_flip.client.urls import is_loopback, shown_url
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.failures.proof import prove
from open_instruct_flip.integrations.open_instruct.mixer import needed_judges
from open_instruct_flip.integrations.open_instruct.options import FlipOptions, our_flag_names
from open_instruct_flip.integrations.open_instruct.policy import policy_opens_thinking
from open_instruct_flip.judges.base import Judge

logger = logging.getLogger(__name__)


def check_run(arguments: Sequence[str]) -> list[str]:
    """Refuse a run that can't work, with the reason.

    Returns:
        Flags for the trainer that hold what was found out.

    Raises:
        UsageError: A flag's value, a row of a dataset, or a judge.
    """
    config = read_flags(arguments)
    options = FlipOptions.from_flags(config)
    found = []
    if options.training.preflight:
        with our_flag_names():
            judges = needed_judges(config, options)
            asyncio.run(ask_judges(judges, options))
        found += ["--flip_judge_proven", "True"] if judges else []
    if options.training.policy_opens_thinking == "auto":
        opened = policy_opens_thinking(arguments)
        found += [] if opened is None else ["--flip_policy_opens_thinking", "yes" if opened else "no"]
    return found


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


async def ask_judges(judges: Sequence[type[Judge]], options: FlipOptions) -> None:
    """Have each of these judges prove itself at every endpoint: see `failures.proof`.

    Raises:
        UsageError: An endpoint can't be reached, does not serve the model, or is no such judge.
    """
    endpoints = options.client.endpoints() if judges else ()
    problems = await together(_problem(judges, options, endpoint) for endpoint in endpoints)
    for endpoint, problem in zip(endpoints, problems, strict=True):
        if problem is not None:
            where = shown_url(endpoint or "its provider")
            raise UsageError(f"the judge {options.client.llm_judge_model} at {where} is no judge {problem}")
        logger.info("judge endpoint %s answers", shown_url(endpoint or "of its provider"))
        if os.environ.get("RAY_ADDRESS") and is_loopback(urlsplit(endpoint or "").hostname or ""):
            logger.warning(
                "judge endpoint %s can be reached on this machine alone, and RAY_ADDRESS names a cluster: where that "
                "has other nodes, start the judge with --host 0.0.0.0 and a key, and name this machine in --api_base",
                shown_url(endpoint or ""),
            )


async def _problem(judges: Sequence[type[Judge]], options: FlipOptions, endpoint: str | None) -> str | None:
    """As which judge this endpoint is useless, and why; None when it serves for all."""
    client = dataclasses.replace(options.client, api_base=endpoint)
    for kind in judges:
        reason = await _uselessness(kind.from_config(options.judge_config(kind), client))
        if reason is not None:
            # What the endpoint says of itself explains more than a request that failed.
            reports = await probe(client)
            return f"as {kind.label()}: {next((report.problem for report in reports if report.problem), reason)}"
    return None


async def _uselessness(judge: Judge) -> str | None:
    try:
        return (await prove(judge)).problem
    except JudgeUnusableError as error:
        return str(error)
