"""Judge the items of a benchmark: every judge, every run, a bounded number of items at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from open_instruct_flip.conversation import hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig
from open_instruct_flip.eval.contenders import Contender
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.store import JudgementStore, Key, judgement_rows
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.judging.stream import in_order
from open_instruct_flip.rewards import FailureKind, Reward

JudgeItems = Callable[[Sequence[Item], Judge, FailureConfig], AsyncIterator[tuple[Item, list[Reward]]]]
"""Judges items: here, or on a cluster."""


def keys_of(contenders: Sequence[Contender], items: Sequence[Item], runs: int, attack: str | None = None) -> list[Key]:
    """What is judged, in the order in which it is."""
    return [
        Key(one.label, attack, run, item.id)
        for one in contenders
        for run in range(one.num_runs(runs))
        for item in items
    ]


async def judge_items(
    items: Sequence[Item], judge: Judge, failures: FailureConfig
) -> AsyncIterator[tuple[Item, list[Reward]]]:
    """Each item with the rewards of its responses, in order."""
    async with judge:
        guard = OutageGuard(judge, failures)
        started = ((len(item.responses), asyncio.create_task(_judge(item, judge, guard))) for item in items)
        async for judged in in_order(started, judge.client.config.max_concurrency):
            yield judged


async def judge_all(
    benchmark: str,
    items: Sequence[Item],
    contenders: Sequence[Contender],
    store: JudgementStore,
    config: EvalConfig,
    watch: Watch,
    attack: str | None = None,
    judging: JudgeItems = judge_items,
) -> None:
    """Judge every item with every judge in every run, into the store, but for what it has kept.

    Raises:
        JudgeUnusableError: No request to a judge can succeed. What is finished is kept.
        JudgeOutageError: A judge is gone for too long. What is finished is kept.
    """
    position = 0
    for contender in contenders:
        for run in range(contender.num_runs(config.runs)):
            todo = _left(items, contender, run, attack, store)
            position += sum(len(item.responses) for item in items) - sum(len(item.responses) for item in todo)
            async for item, rewards in judging(todo, contender.for_run(run), config.failures()):
                key = Key(contender.label, attack, run, item.id)
                store.append(key, judgement_rows(benchmark, contender.model, key, item, rewards))
                position += len(item.responses)
                watch(store, position)


async def _judge(item: Item, judge: Judge, guard: OutageGuard) -> tuple[Item, list[Reward]]:
    try:
        hide_instruction(item.conversation, judge.target)
    except UsageError as error:
        return item, [Reward(error=FailureKind.INVALID_INPUT, detail=str(error))] * len(item.responses)
    return item, await guard.score(item.conversation, item.responses)


def _left(
    items: Sequence[Item], contender: Contender, run: int, attack: str | None, store: JudgementStore
) -> list[Item]:
    """The items that this judge has not judged yet in this run."""
    return [
        item for item in items if store.kept(Key(contender.label, attack, run, item.id), len(item.responses)) is None
    ]


def scores_of(rows: Sequence[Output], items: Sequence[Item], label: str) -> list[list[list[float] | None]]:
    """A judge's scores of each item in each run, None where a judgement failed; rows as `finish` has them."""
    return [list(_in_items(run, items)) for run in _runs(rows, label)]


def _runs(rows: Sequence[Output], label: str) -> list[list[Output]]:
    runs: dict[int, list[Output]] = {}
    for row in rows:
        if row["judge"] == label:
            runs.setdefault(row["run"], []).append(row)
    return [runs[run] for run in sorted(runs)]


def _in_items(rows: Sequence[Output], items: Sequence[Item]) -> Iterator[list[float] | None]:
    remaining = iter(rows)
    for item in items:
        scores = [next(remaining)["score"] for _ in item.responses]
        yield None if None in scores else scores
