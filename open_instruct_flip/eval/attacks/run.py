"""Judge the items of a benchmark as they are and attacked, with what judges a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.attacks.effects import Effect, effects
from open_instruct_flip.eval.attacks.texts import attacked_item
from open_instruct_flip.eval.config import EvalConfig
from open_instruct_flip.eval.contenders import Contender
from open_instruct_flip.eval.estimate import Estimate
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.run import judge_all, keys_of
from open_instruct_flip.eval.store import JudgementStore
from open_instruct_flip.judging.progress import Watch
from open_instruct_flip.similarity.copying import CopyGuard, shown_to_judge

EFFECTS = "attacks.json"


async def judge_attacks(
    benchmark: str,
    items: Sequence[Item],
    contenders: Sequence[Contender],
    attacks: Sequence[str],
    guard: CopyGuard,
    store: JudgementStore,
    config: EvalConfig,
    watch: Watch,
) -> list[Effect]:
    """Judge every item as it is and with every attack, and say what the attacks have done.

    Rows hold the responses as the judge read them: under "mask" without what they copy. Under "penalize" the effects
    without the guard come first, then those with it, from the same judgements.

    Raises:
        JudgeUnusableError: No request to a judge can succeed. What is finished is kept.
        JudgeOutageError: A judge is gone for too long. What is finished is kept.
    """
    keys, before = [], 0
    for attack in (None, *attacks):
        for contender in contenders:
            read = [_as_read(item, attack, contender.judge.compares_group, guard) for item in items]
            await judge_all(benchmark, read, [contender], store, config, _moved(watch, before), attack)
            keys += keys_of([contender], items, config.runs, attack)
            before += size(items, [contender], config)
    rows = store.finish(keys)
    return effects(rows) + effects(rows, "penalize") if guard == "penalize" else effects(rows, guard)


def _moved(watch: Watch, by: int) -> Watch:
    return lambda totals, position: watch(totals, by + position)


def size(items: Sequence[Item], contenders: Sequence[Contender], config: EvalConfig) -> int:
    """How many judgements one pass over the items is."""
    return sum(one.num_runs(config.runs) for one in contenders) * sum(len(item.responses) for item in items)


def write_effects(folder: Path, found: Sequence[Effect]) -> Path:
    """Write the effects as JSON, and return the file."""
    file = folder / EFFECTS
    file.write_text(f"{json.dumps([asdict(effect) for effect in found], indent=1)}\n", "utf-8")
    return file


def read_effects(folder: Path) -> list[Effect]:
    """The effects that a folder holds; none where no attack was run.

    Raises:
        UsageError: The file is none of `flip eval attacks`.
    """
    file = folder / EFFECTS
    if not file.is_file():
        return []
    try:
        return [_effect(one) for one in json.loads(file.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is none of `flip eval attacks`: {error!r}; run the attacks again") from error


def _effect(values: Mapping[str, Any]) -> Effect:
    found = {name: Estimate(**values[name]) if values[name] else None for name in ("change", "flipped")}
    return Effect(**{**values, **found})


def _as_read(item: Item, attack: str | None, compares_group: bool, guard: CopyGuard) -> Item:
    told = item if attack is None else attacked_item(item, attack, compares_group)
    return replace(told, responses=tuple(shown_to_judge(text, item.instruction, guard) for text in told.responses))
