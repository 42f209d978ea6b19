"""Score a file: rows stream in, a bounded number of groups is with the judge, rewards stream out in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.client.probe import probe, require_usable
from open_instruct_flip.conversation import hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Reward
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.partial import Output, PartialOutput
from open_instruct_flip.score.rows import ScoreRow, check_suffix, read_rows
from open_instruct_flip.score.settings import reward_settings
from open_instruct_flip.score.summary import Summary

RESPONSES_PER_SLOT = 8
"""Responses read ahead per request in flight, so that one slow answer does not hold up those behind it."""

Pending = deque[tuple[ScoreRow, asyncio.Task[list[Output]]]]
Watch = Callable[[Summary, int], None]
"""Told of each step: the summary so far, and the position in the input, in the unit of `input_size`."""


async def score_file(source: Path, out: Path, judge: Judge, config: ScoreConfig, watch: Watch) -> Summary:
    """Score every response of `source` into `out`, from where an interrupted run of the same settings stopped.

    Returns:
        The summary of the whole output, the part of an earlier run included.

    Raises:
        UsageError: An option of the judge, or a partial output of other settings.
        JudgeUnusableError: The judge is gone. What is finished is kept.
    """
    with PartialOutput(out, reward_settings(source, judge), restart=config.restart) as partial:
        rows = partial.resume(read_rows(source))
        watch(partial.summary, partial.position)
        async with judge:
            async for row, outputs in score_rows(rows, judge):
                partial.append(outputs, row.position)
                watch(partial.summary, partial.position)
        partial.finish()
    return partial.summary


def check_run(source: Path, out: Path, judge: Judge, config: ScoreConfig) -> None:
    """Raise UsageError for what can be seen to fail before any request."""
    check_suffix(out)
    read_rows(source)
    if out.exists() and out.samefile(source):
        raise UsageError(f"{out} is the input itself; choose another OUT")
    if out.exists() and not config.overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")
    cached = judge.client.config.cache_dir is not None
    temperature: float = getattr(judge.config, "temperature", 0.0)
    if cached and temperature > 0 and judge.config.seed is None:
        raise UsageError(f"--cache_dir keeps no answers drawn at --temperature {temperature:g}: set --seed, or 0")


async def score_rows(rows: Iterable[ScoreRow], judge: Judge) -> AsyncIterator[tuple[ScoreRow, list[Output]]]:
    """The output rows of each input row, in order, with a bounded number of responses read ahead."""
    window = RESPONSES_PER_SLOT * judge.client.config.max_concurrency
    pending: Pending = deque()
    ahead = 0
    try:
        for row in rows:
            pending.append((row, asyncio.create_task(score_row(judge, row))))
            ahead += row.num_outputs
            while ahead >= window:
                ahead -= pending[0][0].num_outputs
                yield await _first(pending, judge)
        while pending:
            yield await _first(pending, judge)
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)


async def _first(pending: Pending, judge: Judge) -> tuple[ScoreRow, list[Output]]:
    """The oldest pending row, once it is finished. An outage of the judge ends the run instead of failing every row."""
    row, task = pending[0]
    outputs = await task
    if any(output["error"] == FailureKind.UNREACHABLE for output in outputs):
        require_usable(await probe(judge.client.config))
        outputs = await score_row(judge, row)  # it is back, or another endpoint is there
    pending.popleft()
    return row, outputs


async def score_row(judge: Judge, row: ScoreRow) -> list[Output]:
    """The output rows of one input row, one per response; of a row that can't be judged they hold the reason."""
    fault = row.fault
    try:
        if not fault:
            hide_instruction(row.conversation, judge.target)
    except UsageError as error:
        fault = str(error)
    if fault:
        rewards = [Reward(error=FailureKind.INVALID_INPUT, detail=fault)] * row.num_outputs
    else:
        rewards = await judge.score(row.conversation, row.responses)
    return [{"id": row.id, "index": index, **_located(reward, row).as_row()} for index, reward in enumerate(rewards)]


def _located(reward: Reward, row: ScoreRow) -> Reward:
    """The reward; where the input is to blame, its detail says where that stands."""
    if reward.error is not FailureKind.INVALID_INPUT:
        return reward
    return replace(reward, detail=f"{row.place}: {reward.detail}")
