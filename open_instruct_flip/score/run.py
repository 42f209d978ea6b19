"""Score a file: rows stream in, a bounded number of groups is with the judge, rewards stream out in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from itertools import islice

from open_instruct_flip.conversation import hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.judging.stream import in_order
from open_instruct_flip.rewards import FailureKind, Reward
from open_instruct_flip.rows.files import RowSource
from open_instruct_flip.score.columns import output_rows
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.groups import COLUMNS, ResponseGroup, read_groups
from open_instruct_flip.score.output import PartialOutput, StreamedOutput
from open_instruct_flip.score.summary import Summary
from open_instruct_flip.thinking import final_answer

Kept = Callable[[ResponseGroup], list[Output] | None]
"""The output rows of a group that are there already, asked for in the order of the groups."""


async def score_file(
    source: RowSource, output: PartialOutput | StreamedOutput, judge: Judge, config: ScoreConfig, watch: Watch
) -> Summary:
    """Score every response of `source` into `output`, apart from those that it has kept of an earlier run.

    The output is finished unless more judgements than `--max_failure_rate` failed.

    Returns:
        The summary of the whole output.

    Raises:
        UsageError: A partial output of other settings or rows.
        JudgeUnusableError: No request to this judge can succeed. What is finished is kept.
        JudgeOutageError: The judge is gone for too long. What is finished is kept.
    """
    groups = islice(read_groups(source.rows(COLUMNS)), config.limit)
    with output:
        await write_scored(groups, output, judge, config, watch)
        if output.summary.failure_rate <= config.max_failure_rate:
            output.finish()
    return output.summary


async def write_scored(
    groups: Iterable[ResponseGroup],
    output: PartialOutput | StreamedOutput,
    judge: Judge,
    config: ScoreConfig,
    watch: Watch,
) -> None:
    """Append the output rows of each group, those that are kept and those that are judged now."""
    async with judge:
        async for group, outputs in score_groups(groups, judge, config, output.kept):
            output.append(outputs)
            watch(output.summary, group.position)


def score_groups(
    groups: Iterable[ResponseGroup], judge: Judge, config: ScoreConfig, kept: Kept = lambda group: None
) -> AsyncIterator[tuple[ResponseGroup, list[Output]]]:
    """The output rows of each group, in order, with a bounded number of responses read ahead.

    Raises:
        JudgeOutageError: The judge is gone for longer than `config.outage_timeout_s`.
    """
    guard = OutageGuard(judge, config.failures())
    started = ((group.num_outputs, _scoring(group, kept(group), guard, judge, config)) for group in groups)
    return in_order(started, judge.client.config.max_concurrency)


def _scoring(
    group: ResponseGroup, kept: list[Output] | None, guard: OutageGuard, judge: Judge, config: ScoreConfig
) -> asyncio.Future[tuple[ResponseGroup, list[Output]]]:
    if kept is None:
        return asyncio.create_task(_score_group(group, guard, judge, config))
    known = asyncio.get_running_loop().create_future()
    known.set_result((group, kept))
    return known


async def _score_group(
    group: ResponseGroup, guard: OutageGuard, judge: Judge, config: ScoreConfig
) -> tuple[ResponseGroup, list[Output]]:
    """One group with its output rows; where it can't be judged they hold the reason."""
    if fault := fault_for(group, judge):
        rewards = [Reward(error=FailureKind.INVALID_INPUT, detail=fault)] * group.num_outputs
    else:
        rewards = await guard.score(group.conversation, judged_responses(group, config))
    return group, output_rows(group, (_located(reward, group) for reward in rewards), keep_replies=config.keep_replies)


def judged_responses(group: ResponseGroup, config: ScoreConfig) -> list[str]:
    """A group's responses as the judge gets them."""
    if not config.thinking_opened:
        return group.responses
    return [final_answer(response, opened=True) for response in group.responses]


def fault_for(group: ResponseGroup, judge: Judge) -> str:
    """Why this judge can't judge a group, or nothing."""
    if group.fault:
        return group.fault
    try:
        hide_instruction(group.conversation, judge.target)
    except UsageError as error:
        return str(error)
    return ""


def _located(reward: Reward, group: ResponseGroup) -> Reward:
    """The reward; where the input is to blame, its detail says where that stands."""
    if reward.error is not FailureKind.INVALID_INPUT:
        return reward
    return replace(reward, detail=f"{group.place}: {reward.detail}")
