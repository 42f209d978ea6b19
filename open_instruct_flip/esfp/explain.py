"""Explanations of pairs, made once: training and its repetitions read them from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from open_instruct_flip.client.together import together
from open_instruct_flip.errors import UsageError
from open_instruct_flip.esfp.pairs import Pair, read_pairs
from open_instruct_flip.judges.esfp.explaining import Explainer
from open_instruct_flip.judging.lines import encode
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
    pairs: Sequence[Pair], out: Path, explainer: Explainer, watch: Watch = lambda totals, position: None
) -> Explained:
    """Append each pair with both explanations to `out`, in order; pairs that stand there already are not asked again.

    A pair of which an explanation fails is left out; the next call asks for it again.

    Raises:
        UsageError: `out` holds explanations of another model, or pairs without.
        JudgeUnusableError: No request to this model can succeed. What is finished is kept.
    """
    model = explainer.client.config.llm_judge_model
    there = _kept(out, model)
    missing = [pair for key, pair in {_key(pair): pair for pair in pairs}.items() if key not in there]
    done = Explained(len(there), kept=len(there))
    watch(done, len(there))
    with out.open("ab") as file:
        async with explainer:
            async for result in in_order(_started(missing, explainer), explainer.client.config.max_concurrency):
                if isinstance(result, str):
                    done.failures.append(result)
                else:
                    _append(file, replace(result, explained_by=model))
                    done.pairs += 1
                watch(done, done.pairs + done.num_failures)
    return done


def _started(pairs: Sequence[Pair], explainer: Explainer) -> Iterator[tuple[int, asyncio.Future[Pair | str]]]:
    return ((2, asyncio.ensure_future(_explained(pair, explainer))) for pair in pairs)


async def _explained(pair: Pair, explainer: Explainer) -> Pair | str:
    """The pair with its explanations, or why one of them is missing."""
    chosen, rejected = await together(explainer.explain(pair.conversation, text) for text in pair.responses)
    for asked in (chosen, rejected):
        if asked.failure:
            return f"{asked.failure['error']}: {asked.failure['detail']}"
    return replace(pair, explanations=(chosen.readings[0], rejected.readings[0]))


def _append(file: BinaryIO, pair: Pair) -> None:
    file.write(encode(pair.as_row()))
    file.flush()


def _kept(out: Path, model: str) -> set[tuple[str, str, str]]:
    """What `out` holds already; half a line that a kill has left is cut off."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        return set()
    content = out.read_bytes()
    out.write_bytes(content[: content.rfind(b"\n") + 1])
    pairs = list(read_pairs(out)) if out.stat().st_size else []
    if any(pair.explanations is None for pair in pairs):
        raise UsageError(f"{out} holds pairs without explanations; give another OUT")
    foreign = next((pair.explained_by for pair in pairs if pair.explained_by != model), None)
    if foreign is not None:
        raise UsageError(f"{out} holds explanations of {foreign}, not of {model}; give another OUT")
    return {_key(pair) for pair in pairs}


def _key(pair: Pair) -> tuple[str, str, str]:
    return repr(pair.conversation), pair.chosen, pair.rejected
