"""How well a judge tells instructions apart, without labels: is a response's own instruction the nearest among others?

A judge that infers the instruction is asked once about each response; what it inferred is compared with the own
instruction and with those of other rows. Another judge scores the response to its own instruction and to each other
one, which costs as many more judgements.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.benchmarks.reading import faults_of
from open_instruct_flip.eval.items import Item
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.flip import FlipConfig
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.rows.files import RowSource
from open_instruct_flip.rows.shapes import read_group
from open_instruct_flip.similarity.f1 import f1_score


class Retrieval(Benchmark):
    """The figures of line-ups, whose "responses" are instructions and whose conversation is the response.

    `strict`: how often the own instruction is nearer than every other one; `official`: with 1/k for a tie of k.
    `reciprocal_rank`: the mean of 1 by the own instruction's rank, a tie taking its mean rank.
    """

    name = "retrieval"
    has_right = False
    baselines = ("random", "token_f1")

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        """The responses of a file, each alone, with rows in the shapes of `flip score`."""
        for number, row in enumerate(RowSource.find(data, split).rows()):
            with faults_of(row):
                conversation, responses = read_group(row.columns)
                if not responses:
                    raise ValueError("the row holds no response")
            for index, response in enumerate(responses):
                yield Item(f"{number}.{index}", self.name, tuple(conversation), (response,), (None,))

    def credits(self, item: Item, scores: Sequence[float]) -> dict[str, float]:
        own, *others = scores
        rank = 1 + sum(other > own for other in others) + sum(other == own for other in others) / 2
        return super().credits(item, scores) | {"reciprocal_rank": 1 / rank}

    def credits_by_chance(self, item: Item) -> dict[str, float]:
        count = len(item.right)
        mean = sum(1 / rank for rank in range(1, count + 1)) / count
        return super().credits_by_chance(item) | {"reciprocal_rank": mean}


def check_judges(judges: Iterable[Judge]) -> None:
    """Refuse judges whose figures would be of something else than the others'.

    Raises:
        UsageError: One infers system prompts, or takes copies off its rewards.
    """
    for judge in judges:
        if judge.target != "last_user":
            raise UsageError(
                f"a line-up is made of user turns, and --flip_target {judge.target} infers another one: leave it out, "
                "or measure it on a benchmark with `flip eval run`"
            )
        if judge.config.copy_guard == "penalize":
            # What was inferred is compared with instructions here, and no reward is left to take something off.
            raise UsageError(
                "--copy_guard penalize would change the scores of some judges only: set it to off or mask, or measure "
                "it with `flip eval run`"
            )


def line_ups(answered: Sequence[Item], others: int, seed: int) -> list[Item]:
    """For each response its own instruction, first, and `others` that other rows have, drawn at random.

    Raises:
        UsageError: There are not as many different instructions.
    """
    instructions = list(dict.fromkeys(item.instruction for item in answered))
    if len(instructions) <= others:
        raise UsageError(
            f"--others {others} needs {others + 1} different instructions, and there are {len(instructions)}"
        )
    right = (True,) + (False,) * others
    return [
        Item(item.id, item.subset, ({"role": "user", "content": item.responses[0]},), drawn, right)
        for item in answered
        for drawn in [(item.instruction, *_drawn(instructions, item, others, seed))]
    ]


def judged_items(answered: Sequence[Item], lined_up: Sequence[Item], judge: type[Judge]) -> list[Item]:
    """What this judge is asked about: each response, or each response as one to every instruction of its line-up."""
    if judge.infers_instruction:
        return list(answered)
    return [
        Item(
            f"{item.id}/{place}",
            item.subset,
            (*item.conversation[:-1], {"role": "user", "content": instruction}),
            item.responses,
            (place == 0,),
        )
        for item, line_up in zip(answered, lined_up, strict=True)
        for place, instruction in enumerate(line_up.responses)
    ]


def scores_in_line_ups(
    rows: Sequence[Output], lined_up: Sequence[Item], judge: Judge
) -> list[list[list[float] | None]]:
    """How near a judge finds each instruction of each line-up, in each run, from its judgements in their order.

    What was inferred is compared as the judge's rewards compare it.
    """
    width = 1 if judge.infers_instruction else len(lined_up[0].responses)
    groups = [rows[start : start + width] for start in range(0, len(rows), width)]
    runs = [groups[start : start + len(lined_up)] for start in range(0, len(groups), len(lined_up))]
    return [[_scores(group, item, judge) for group, item in zip(run, lined_up, strict=True)] for run in runs]


def _scores(rows: Sequence[Output], line_up: Item, judge: Judge) -> list[float] | None:
    if any(row["score"] is None for row in rows):
        return None
    if len(rows) == 1:
        inferred = rows[0]["inferred_instruction"] or ""
        return [_likeness(judge, inferred, instruction) for instruction in line_up.responses]
    return [row["score"] for row in rows]


def _likeness(judge: Judge, inferred: str, instruction: str) -> float:
    if isinstance(judge.config, FlipConfig):
        return judge.config.likeness(inferred, instruction)
    return f1_score(inferred, instruction).f1


def _drawn(instructions: Sequence[str], item: Item, others: int, seed: int) -> list[str]:
    drawn = random.Random(f"{seed} {item.id}").sample(instructions, others + 1)
    return [instruction for instruction in drawn if instruction != item.instruction][:others]
