"""Score a file: rows stream in, a bounded number of groups is with the judge, rewards stream out in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Reward
from open_instruct_flip.scoring.config import ScoreConfig
from open_instruct_flip.scoring.partial import Output, PartialOutput
from open_instruct_flip.scoring.rows import ScoreRow, check_suffix, read_rows
from open_instruct_flip.scoring.settings import reward_settings
from open_instruct_flip.scoring.summary import Summary

RESPONSES_PER_SLOT = 8
"""Responses read ahead per request in flight, so that one slow answer does not hold up those behind it."""

Watch = Callable[[Summary, int], None]
"""Told after each input row: the summary so far, and the position in the input."""


async def score_file(source: Path, out: Path, judge: Judge, config: ScoreConfig, watch: Watch) -> Summary:
    """Score every response of `source` into `out`, from where an interrupted run of the same settings stopped.

    Returns:
        The summary of the whole output, the part of an earlier run included.

    Raises:
        UsageError: A file's name or place, or a partial output of other settings.
        JudgeUnusableError: The judge is gone. What is finished is kept.
    """
    check_out(source, out, overwrite=config.overwrite)
    summary = Summary()
    with PartialOutput(out, reward_settings(source, judge), restart=config.restart) as partial:
        rows = partial.resume(read_rows(source), summary)
        watch(summary, 0)
        async with judge:
            async for row, outputs in score_rows(rows, judge):
                partial.append(outputs)
                for output in outputs:
                    summary.add(output)
                watch(summary, row.position)
        partial.finish(integer_ids=summary.integer_ids)
    return summary


def check_out(source: Path, out: Path, *, overwrite: bool) -> None:
    """Raise UsageError where the output can't or must not be written."""
    check_suffix(out)
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"{out} is the input itself; choose another OUT")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; --overwrite replaces it")


async def score_rows(rows: Iterable[ScoreRow], judge: Judge) -> AsyncIterator[tuple[ScoreRow, list[Output]]]:
    """The output rows of each input row, in order, with a bounded number of responses read ahead."""
    window = RESPONSES_PER_SLOT * judge.client.config.max_concurrency
    pending: deque[tuple[ScoreRow, asyncio.Task[list[Output]]]] = deque()
    ahead = 0
    try:
        for row in rows:
            pending.append((row, asyncio.create_task(score_row(judge, row))))
            ahead += row.num_outputs
            while ahead >= window:
                ahead -= pending[0][0].num_outputs
                yield pending[0][0], await pending[0][1]
                pending.popleft()
        while pending:
            yield pending[0][0], await pending[0][1]
            pending.popleft()
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)


async def score_row(judge: Judge, row: ScoreRow) -> list[Output]:
    """The output rows of one input row, one per response; of a row that can't be judged they hold the reason."""
    fault = row.fault
    if not fault:
        try:
            rewards = await judge.score(row.conversation, row.responses)
        except UsageError as error:
            fault = str(error)
    if fault:
        rewards = [Reward(error=FailureKind.INVALID_INPUT, detail=f"{row.place}: {fault}")] * row.num_outputs
    return [{"id": row.id, "index": index, **reward.as_row()} for index, reward in enumerate(rewards)]
