"""What tells one judge's verdicts from another's, as plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.client.local_model import model_identity
from open_instruct_flip.client.probe import EndpointReport, identities
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judges.base import Judge

AnyJudge = TypeVar("AnyJudge", bound=Judge)

PACKAGES = ("open-instruct-flip", "litellm")


def settled(judge: AnyJudge) -> AnyJudge:
    """The judge with what its server decides, such as the reply contract under "auto", found out and fixed.

    A run is judged in this form throughout, by every process of it, and says so: it must not go on in another one.

    Raises:
        JudgeUnusableError: The server could not be asked.
    """
    try:
        return run_sync(judge.settled())
    except RequestFailed as error:
        raise JudgeUnusableError(f"the {judge.name} judge could not be asked: {error.kind}: {error.detail}") from error


def judge_identity(judge: Judge, reports: Sequence[EndpointReport]) -> dict[str, Any]:
    """Judge, model, options and prompt. Where the judge is reached is not among them."""
    client = judge.client.config
    return {
        "judge": judge.name,
        "llm_judge_model": client.llm_judge_model,
        "servers": [model_identity(client)] if client.in_process else identities(reports),
        **judge.options(),
        "prompt": _digest_of_prompt(judge),
    }


def package_versions() -> dict[str, str]:
    """The installed versions of what makes a verdict."""
    return {package: _version(package) for package in PACKAGES}


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any], under: str = "") -> Iterable[str]:
    """What differs between two settings, in words."""
    for name in sorted(theirs.keys() | ours.keys()):
        before, now = theirs.get(name), ours.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from changes(before, now, f"{under}{name}.")
        elif before != now:
            yield f"{under}{name} {before!r:.80}, now {now!r:.80}"


def check_cache(judge: Judge) -> None:
    """Raise UsageError where the cache would have to keep answers that are drawn anew each time."""
    if judge.client.config.cache_dir is not None and judge.temperature > 0 and judge.config.seed is None:
        raise UsageError(f"--cache_dir keeps no answers drawn at --temperature {judge.temperature:g}: set --seed, or 0")


def _digest_of_prompt(judge: Judge) -> str | None:
    texts = judge.prompt_texts()
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest() if texts else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
