"""Responses whose instructions nobody has written down, from any data that holds responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.conversation import Message, Target, check_conversation, hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.shapes import TEXT_COLUMNS, TURN_COLUMNS, BadRowError, find_responses, read_turns
from open_instruct_flip.thinking import final_answer

LONE_COLUMNS = ("output", "text")
"""Where a row without any turns may have its response, beside the columns that responses always stand in."""


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """A response, and what a judge may see beside it.

    Attributes:
        place: Where it stands, for messages.
        context: The turns that a judge may see.
        response: The response, as it stands in the data.
        instruction: The true instruction where the row has one, which no judge is shown; else None.
        target: Which turn the instruction is.
    """

    place: str
    context: tuple[Message, ...]
    response: str
    instruction: str | None
    target: Target

    def conversation(self, instruction: str) -> list[Message]:
        """The conversation with this text as its instruction."""
        if self.target == "system":
            return [{"role": "system", "content": instruction}, *self.context]
        return [*self.context, {"role": "user", "content": instruction}]


def read_unlabelled(
    rows: Iterable[Row], target: Target, left_out: Counter[str], *, skip_bad_rows: bool
) -> Iterator[Unlabelled]:
    """The first response of each row that has an answer; the others are counted in `left_out`, by reason.

    A row has its response in any of the shapes of `rows.shapes.read_group`, or by itself in `response`, `responses`,
    `output` or `text`.

    Raises:
        UsageError: A row has no such shape, and is not to be skipped.
    """
    for row in rows:
        try:
            if row.fault:
                raise BadRowError(row.fault)
            turns, responses = _read(row.columns)
            context, instruction = _hidden(turns, target)
        except (BadRowError, UsageError) as error:
            if not skip_bad_rows:
                raise UsageError(f"{row.place}: {error}; --skip_bad_rows leaves such rows out") from None
            left_out["of no known shape"] += 1
            continue
        told = next((response for response in responses if final_answer(response).strip()), None)
        if told is None:
            left_out["without a response"] += 1
        else:
            yield Unlabelled(row.place, context, told, instruction, target)


def _read(columns: Mapping[str, Any]) -> tuple[list[Message], list[str]]:
    alone = [columns[name] for name in LONE_COLUMNS if isinstance(columns.get(name), str)][:1]
    if any(columns.get(name) is not None for name in TURN_COLUMNS + TEXT_COLUMNS):
        turns, responses = read_turns(columns)
        return turns, responses or alone
    responses = find_responses(columns) or alone
    if not responses:
        raise BadRowError("the row has no response: none of responses, response, output, text, and no turns")
    if not all(isinstance(response, str) for response in responses):
        raise BadRowError("a response is no text")
    return [], responses


def _hidden(turns: list[Message], target: Target) -> tuple[tuple[Message, ...], str | None]:
    """What a judge may see of the turns before a response, and the instruction among them if there is one."""
    if target == "system":
        check_conversation(turns)
    roles = [turn["role"] for turn in turns]
    if (target == "system" and "system" in roles) or (target == "last_user" and roles[-1:] == ["user"]):
        hidden = hide_instruction(turns, target)
        return hidden.context, hidden.instruction
    if target == "last_user" and roles[-1:] not in ([], ["system"]):
        raise BadRowError(f"the turn before the response is the {roles[-1]}'s, not the user's")
    return tuple(turns), None
