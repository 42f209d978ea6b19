"""What the rewards of a file depend on, so that a run only goes on from what belongs to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from open_instruct_flip.client.probe import EndpointReport
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.identity import judge_identity
from open_instruct_flip.rows.files import STDIN, RowSource
from open_instruct_flip.score.config import ScoreConfig


def reward_settings(
    source: RowSource, judge: Judge, config: ScoreConfig, reports: Sequence[EndpointReport]
) -> dict[str, Any]:
    """Judge, model, prompts and input, as plain values. Where the judge is reached is not among them.

    The whole input is read for its digest: a second for each GB, which takes its judge days.
    """
    return {
        **judge_identity(judge, reports),
        "thinking_opened": config.thinking_opened,
        "keep_replies": config.keep_replies,
        "input": input_identity(source),
    }


def input_identity(source: RowSource) -> str | None:
    """Digest of the files or commit of the hub dataset; None of standard input, which can't be read twice."""
    if source.name == STDIN:
        return None
    if not source.files:
        return f"{source.name} at {source.commit}, split {source.split}"
    digest = hashlib.blake2b(digest_size=8)
    for file in source.files:
        with file.open("rb") as content:
            hashlib.file_digest(content, lambda: digest)
    return f"{sum(file.stat().st_size for file in source.files)} bytes, {digest.hexdigest()}"
