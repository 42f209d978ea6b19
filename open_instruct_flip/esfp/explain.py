"""Explanations of pairs, made once: training and its repetitions read them from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from open_instruct_flip.client.together import together
from open_instruct_flip.esfp.pairs import SIDES, Pair
from open_instruct_flip.judges.esfp.explaining import Explainer
from open_instruct_flip.judging.growing import GrowingFile
from open_instruct_flip.judging.lines import Output
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.judging.stream import in_order


@dataclass(slots=True)
class Explained:
    """How many pairs have both explanations now, how many had them before, and why others have none."""

    pairs: int
    kept: int
    failures: list[str] = field(default_factory=list)

    @property
    def num_responses(self) -> int:
        """Responses with an explanation."""
        return 2 * self.pairs

    @property
    def num_failures(self) -> int:
        """Pairs that have none."""
        return len(self.failures)


async def explain_pairs(
    pairs: Sequence[Pair], out: GrowingFile, explainer: Explainer, watch: Watch = lambda totals, position: None
) -> Explained:
    """Append each pair with both explanations to `out` as it has them; pairs that stand there are not asked again.

    A pair of which an explanation fails is left out; the next call asks for it again.

    Raises:
        JudgeUnusableError: No request to this model can succeed. What is finished is kept.
    """
    missing = [pair for key, pair in {_key(pair): pair for pair in pairs}.items() if key not in out]
    done = Explained(len(out), kept=len(out))
    watch(done, len(out))
    async with explainer:
        async for result in in_order(_started(missing, explainer, out), explainer.client.config.max_concurrency):
            if isinstance(result, str):
                done.failures.append(result)
            else:
                done.pairs += 1
            watch(done, done.pairs + done.num_failures)
    return done


def key_of_row(row: Output) -> Hashable:
    """What an explained pair is found by in a file of them; raises KeyError for another row."""
    for side in SIDES:
        row[f"{side}_explanation"]
    return repr(row["messages"]), row["chosen"], row["rejected"]


def _started(
    pairs: Sequence[Pair], explainer: Explainer, out: GrowingFile
) -> Iterator[tuple[int, asyncio.Future[Pair | str]]]:
    return ((2, asyncio.ensure_future(_explained(pair, explainer, out))) for pair in pairs)


async def _explained(pair: Pair, explainer: Explainer, out: GrowingFile) -> Pair | str:
    """The pair with its explanations, kept at once, or why one of them is missing."""
    chosen, rejected = await together(explainer.explain(pair.conversation, text) for text in pair.responses)
    for asked in (chosen, rejected):
        if asked.failure:
            return f"{asked.failure['error']}: {asked.failure['detail']}"
    model = explainer.client.config.llm_judge_model
    explained = replace(pair, explanations=(chosen.readings[0], rejected.readings[0]), explained_by=model)
    out.append(explained.as_row())
    return explained


def _key(pair: Pair) -> Hashable:
    return repr(list(pair.conversation)), pair.chosen, pair.rejected
