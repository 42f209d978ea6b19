"""The effects of attacks as a table of the terminal and of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from open_instruct_flip.eval.attacks.effects import Effect


def by_attack(found: Sequence[Effect]) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """The judges as headings; for each attack its name, and for each judge the change of reward and what it did."""
    cells = {(effect.attack, _judge(effect)): _shown(effect) for effect in found}
    judges = _distinct(map(_judge, found))
    attacks = _distinct(effect.attack for effect in found)
    return judges, [
        (attack, [cells.get((attack, judge), ("\N{EN DASH}", "")) for judge in judges]) for attack in attacks
    ]


def _judge(effect: Effect) -> str:
    return effect.judge if effect.copy_guard == "off" else f"{effect.judge}, copy guard {effect.copy_guard}"


def _shown(effect: Effect) -> tuple[str, str]:
    if effect.change is None:
        return "\N{EN DASH}", "all failed"
    flips = "" if effect.flipped is None else f", {effect.flipped.mean:.0%} flipped"
    failed = f", {effect.failed:.0%} failed" if effect.failed else ""
    return f"{effect.change.mean:+.3f}", f"± {effect.change.error:.3f}{flips}{failed}"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
