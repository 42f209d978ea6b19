"""What judges are given to judge under attack, and the effects that this has, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.attacks.effects import Effect, effects
from open_instruct_flip.eval.attacks.texts import attacked_item
from open_instruct_flip.eval.contenders import Contender
from open_instruct_flip.eval.estimate import Estimate
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.judgements import Judgement
from open_instruct_flip.eval.run import Pass
from open_instruct_flip.similarity.copying import CopyGuard

EFFECTS = "attacks.json"


def attack_passes(items: Sequence[Item], contenders: Sequence[Contender], attacks: Sequence[str]) -> list[Pass]:
    """Every judge over the items as they are, and with each attack."""
    return [
        Pass(contender, [_as_told(item, attack, contender.judge.compares_group) for item in items], attack)
        for attack in (None, *attacks)
        for contender in contenders
    ]


def effects_under(rows: Sequence[Judgement], guard: CopyGuard, seed: int) -> list[Effect]:
    """What the attacks have done; under "penalize" without the guard, then with it, from the same judgements."""
    found = effects(rows, seed, guard_while_judging(guard))
    return found + effects(rows, seed, guard) if guard == "penalize" else found


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


def guard_while_judging(guard: CopyGuard) -> CopyGuard:
    """The copy guard that judges are to have: "penalize" changes no judgement, so `effects_under` applies it after."""
    return "mask" if guard == "mask" else "off"


def _as_told(item: Item, attack: str | None, compares_group: bool) -> Item:
    return item if attack is None else attacked_item(item, attack, compares_group)
