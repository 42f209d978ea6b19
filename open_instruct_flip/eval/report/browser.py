"""What the page's browser of items shows, as compact JSON that no judged text can break out of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from open_instruct_flip.eval.judgements import JudgedItem, Judgement, Voice, choice

COLUMNS = ("score", "error", "detail", "inferred_instruction", "reply", "tokens")
"""What the browser shows of a judgement, in the order of its places in the JSON."""
HUNDREDTHS = 100
"""A token's number is shown in hundredths of a nat: a whole number is half as long."""


def browser_json(items: Sequence[JudgedItem]) -> str:
    """The items as JSON that is safe inside a script element: it holds no `<`, so no text can close the element.

    Returns:
        `{"voices": [names], "columns": [names], "items": [[benchmark, subset, id, turns, responses, right, judged]]}`;
        a turn is [role, text]; `judged` has, for each voice that judged the item, [number of the voice, outcome,
        number of the chosen response or null, judgements of the responses]. A judgement's tokens are [texts, hundredths
        of a nat, whether these are gains].
    """
    voices = voices_of(items)
    numbers = {voice: number for number, voice in enumerate(voices)}
    data = {
        "voices": voice_names(voices),
        "columns": COLUMNS,
        "items": [_item(item, numbers) for item in items],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def voices_of(items: Sequence[JudgedItem]) -> list[Voice]:
    """Every voice that judged an item, in the order of its first."""
    return list(dict.fromkeys(voice for item in items for voice in item.judgements))


def voice_names(voices: Sequence[Voice]) -> list[str]:
    """What each voice is called: its judge, with the number of the run where that judge ran more than once."""
    judges = [voice.judge for voice in voices]
    return [f"{v.judge} #{v.run + 1}" if judges.count(v.judge) > 1 else v.judge for v in voices]


def _item(item: JudgedItem, numbers: dict[Voice, int]) -> list[Any]:
    return [
        item.benchmark,
        item.subset,
        item.id,
        [[message["role"], message["content"]] for message in item.conversation],
        item.responses,
        item.right,
        [
            [numbers[voice], item.outcome(voice), choice(item.scores(voice)), [_judgement(row) for row in rows]]
            for voice, rows in item.judgements.items()
        ],
    ]


def _judgement(row: Judgement) -> list[Any]:
    values = [*(row.get(column) for column in COLUMNS[:-1]), _tokens(row.get("tokens") or ())]
    while values and values[-1] is None:
        values.pop()
    return values


def _tokens(tokens: Sequence[tuple[str, float, float] | tuple[str, float]]) -> list[Any] | None:
    """Texts, numbers and what these are: log-probabilities, or what is gained over those without what is judged."""
    if not tokens:
        return None
    numbers = [logprob - (prior[0] if prior else 0.0) for _, logprob, *prior in tokens]
    return [[token[0] for token in tokens], [round(HUNDREDTHS * n) for n in numbers], int(len(tokens[0]) > 2)]
