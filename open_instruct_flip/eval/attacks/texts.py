"""The attacks: what each puts before or after a response. Their texts stand in attacks.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.items import Item

PLACE = "{instruction}"


@cache
def attack_texts() -> dict[str, dict[str, str]]:
    """Name -> `{"before": text}` or `{"after": text}`, in which `{instruction}` stands for the true instruction."""
    text = files(__package__).joinpath("attacks.json").read_text("utf-8")
    texts: dict[str, dict[str, str]] = json.loads(text)
    return texts


def find_attacks(names: Sequence[str]) -> list[str]:
    """The attacks of these names, all of them for no name.

    Raises:
        UsageError: There is no such attack.
    """
    for name in names:
        if name not in attack_texts():
            raise UsageError(f"--attack {name!r} is none of {', '.join(attack_texts())}")
    return list(dict.fromkeys(names)) or list(attack_texts())


def attacked(response: str, attack: str, instruction: str) -> str:
    """A response with an attack.

    Example:
        >>> attacked("Waves come.", "restated_before", "Write about the sea.")
        'You asked me the following: Write about the sea.\\n\\nWaves come.'
    """
    ((where, text),) = attack_texts()[attack].items()
    quoted = json.dumps(instruction, ensure_ascii=False)[1:-1] if text.startswith("{") else instruction
    told = text.replace(PLACE, quoted)
    return f"{told}\n\n{response}" if where == "before" else f"{response}\n\n{told}"


def attacked_item(item: Item, attack: str, compares_group: bool) -> Item:
    """An item whose responses attack the judge.

    A judge that compares a group is attacked by the wrong responses only, or by all but the first where nobody has said
    which are wrong: an attack that all use gains none of them anything.
    """
    wrong = [right is False for right in item.right]
    chosen = (
        (wrong if any(wrong) else [index > 0 for index in range(len(wrong))]) if compares_group else [True] * len(wrong)
    )
    instruction = item.conversation[-1]["content"]
    responses = tuple(
        attacked(response, attack, instruction) if attacks else response
        for response, attacks in zip(item.responses, chosen, strict=True)
    )
    return replace(item, responses=responses)
