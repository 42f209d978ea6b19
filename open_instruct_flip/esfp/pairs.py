"""Pairs of a preferred and another response, and the explanations of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message, check_conversation
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import Row, RowSource
from open_instruct_flip.rows.shapes import SYSTEM_COLUMNS, BadRowError, find_turns, is_encodable, read_message

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to a conversation.

    Attributes:
        conversation: Turns that end with the user turn that was answered.
        chosen: The preferred response.
        rejected: The other one.
        explanations: Of the chosen and of the rejected response; None where there are none yet.
        explained_by: The model that wrote them.
    """

    conversation: tuple[Message, ...]
    chosen: str
    rejected: str
    explanations: tuple[str, str] | None = None
    explained_by: str | None = None

    @property
    def responses(self) -> tuple[str, str]:
        return self.chosen, self.rejected

    def as_row(self) -> dict[str, Any]:
        """A row that `read_pairs` reads back."""
        row: dict[str, Any] = {"messages": list(self.conversation), "chosen": self.chosen, "rejected": self.rejected}
        if self.explanations is not None:
            row |= {f"{side}_explanation": text for side, text in zip(SIDES, self.explanations, strict=True)}
            row |= {"explained_by": self.explained_by}
        return row


def read_pairs(path: str | Path) -> Iterator[Pair]:
    """The pairs of a file of preferences.

    A row has the conversation in any of the usual shapes (`prompt`, `messages`, ...), and `chosen` and `rejected`:
    texts, or lists of turns of which the last is the response; turns before that are the conversation.

    Raises:
        UsageError: There is no such file, or a row is no pair: the message says which and why.
    """
    for row in RowSource.find(path).rows():
        try:
            yield _pair(row)
        except (BadRowError, UsageError) as error:
            raise UsageError(f"{row.place}: {error}; correct or remove the row") from error


def _pair(row: Row) -> Pair:
    if row.fault:
        raise BadRowError(row.fault)
    missing = [side for side in SIDES if not row.columns.get(side)]
    if missing:
        raise BadRowError(f"{' and '.join(missing)} missing or empty; a row has {', '.join(row.columns) or 'nothing'}")
    turns = {side: _turns(row.columns[side], side) for side in SIDES}
    before, beside = (turns[side][:-1] for side in SIDES)
    if before and beside and before != beside:
        raise BadRowError("chosen and rejected do not answer the same conversation")
    chosen, rejected = (turns[side][-1]["content"] for side in SIDES)
    if not chosen.strip() or not rejected.strip():
        raise BadRowError("a response says nothing")
    if chosen.strip() == rejected.strip():
        raise BadRowError("chosen and rejected are the same response")
    system = {name: row.columns.get(name) for name in SYSTEM_COLUMNS}
    asked = find_turns({**system, "messages": before} if before else row.columns)
    conversation = [read_message(turn, number) for number, turn in enumerate(asked)]
    check_conversation(conversation)
    if not all(map(is_encodable, (chosen, rejected, *(turn["content"] for turn in conversation)))):
        raise BadRowError("a text has half a surrogate pair, which tokenizers can't read")
    return Pair(tuple(conversation), chosen, rejected, *_explained(row.columns))


def _turns(value: Any, side: str) -> list[Message]:
    """A side as turns; a text is one turn of the assistant."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise BadRowError(f"{side} is neither a text nor a list of turns: {value!r:.60}")
    turns = [read_message(turn, number) for number, turn in enumerate(value)]
    if turns[-1]["role"] != "assistant":
        raise BadRowError(f"{side} ends with a turn of {turns[-1]['role']!r}, which is no response")
    return turns


def _explained(columns: dict[str, Any]) -> tuple[tuple[str, str] | None, str | None]:
    chosen, rejected = (columns.get(f"{side}_explanation") for side in SIDES)
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return None, None
    return (chosen, rejected), str(columns.get("explained_by"))
