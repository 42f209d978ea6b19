"""Judge items: every pass of a judge over them, every run, a bounded number of items at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from open_instruct_flip.conversation import hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig
from open_instruct_flip.eval.contenders import Contender, identify
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


@dataclass(frozen=True, slots=True)
class Pass:
    """What one judge is given to judge, in each of its runs.

    Attributes:
        contender: The judge.
        items: The items as it reads them.
        attack: The attack that stands in their responses, or None.

    Raises:
        UsageError: It compares responses, and would get one alone.
    """

    contender: Contender
    items: Sequence[Item]
    attack: str | None = None

    def __post_init__(self) -> None:
        single = next((item.id for item in self.items if len(item.responses) < 2), None)
        if single is not None and self.contender.judge.compares_group:
            name = self.contender.judge.name
            raise UsageError(f"the {name} judge compares responses, and item {single} has one; leave the judge out")

    def key(self, run: int, item: Item) -> Key:
        """What an item's judgements of a run are found by."""
        return Key(self.contender.label, self.attack, run, item.id)

    def size(self, runs: int) -> int:
        """How many judgements it is."""
        return self.contender.num_runs(runs) * sum(len(item.responses) for item in self.items)


def identified(passes: Sequence[Pass]) -> tuple[list[Pass], dict[str, dict[str, Any]]]:
    """The passes, their judges as their servers settle them, and what each judge's verdicts depend on, by its label.

    Raises:
        JudgeUnusableError: A judge can't be used.
    """
    known = identify({one.contender.label: one.contender for one in passes}.values())
    settled = [replace(one, contender=known[one.contender.label][0]) for one in passes]
    return settled, {label: identity for label, (_, identity) in known.items()}


def keys_of(passes: Iterable[Pass], runs: int) -> list[Key]:
    """What is judged, in the order in which it is."""
    return [one.key(run, item) for one in passes for run in range(one.contender.num_runs(runs)) for item in one.items]


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
    passes: Iterable[Pass],
    store: JudgementStore,
    config: EvalConfig,
    watch: Watch,
    judging: JudgeItems = judge_items,
) -> None:
    """Judge all items of all passes in all runs, into the store, but for what it has kept.

    Raises:
        JudgeUnusableError: No request to a judge can succeed. What is finished is kept.
        JudgeOutageError: A judge is gone for too long. What is finished is kept.
    """
    position = 0
    for one in passes:
        for run in range(one.contender.num_runs(config.runs)):
            todo = [item for item in one.items if store.kept(one.key(run, item), len(item.responses)) is None]
            position += sum(len(item.responses) for item in one.items) - sum(len(item.responses) for item in todo)
            async for item, rewards in judging(todo, one.contender.for_run(run), config.failures()):
                key = one.key(run, item)
                store.append(key, judgement_rows(benchmark, one.contender.model, key, item, rewards))
                position += len(item.responses)
                watch(store, position)


def fault_of(item: Item, judge: Judge) -> Reward | None:
    """The failure of all responses of an item that holds no instruction of this judge's kind, or None."""
    try:
        hide_instruction(item.conversation, judge.target)
    except UsageError as error:
        return Reward(error=FailureKind.INVALID_INPUT, detail=str(error))
    return None


async def _judge(item: Item, judge: Judge, guard: OutageGuard) -> tuple[Item, list[Reward]]:
    fault = fault_of(item, judge)
    if fault is not None:
        return item, [fault] * len(item.responses)
    return item, await guard.score(item.conversation, item.responses)


def by_judge(rows: Iterable[Output]) -> dict[str, list[Output]]:
    """The rows of each judge by its label, in their order."""
    return _grouped(rows, "judge")


def scores_of(rows: Iterable[Output], items: Sequence[Item]) -> list[list[list[float] | None]]:
    """One judge's scores of each item in each run, None where a judgement failed; its rows as `finish` has them."""
    return [list(_in_items(run, items)) for _, run in sorted(_grouped(rows, "run").items())]


def _grouped(rows: Iterable[Output], column: str) -> dict[Any, list[Output]]:
    groups: dict[Any, list[Output]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def _in_items(rows: Sequence[Output], items: Sequence[Item]) -> Iterator[list[float] | None]:
    remaining = iter(rows)
    for item in items:
        scores = [next(remaining)["score"] for _ in item.responses]
        yield None if None in scores else scores
