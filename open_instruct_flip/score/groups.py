"""The groups of a file: conversations with the responses to be scored, each with the place it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from open_instruct_flip.conversation import Message
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.shapes import PROMPT_COLUMNS, RESPONSE_COLUMNS, BadRowError, find_responses, read_group

COLUMNS = ("id", *PROMPT_COLUMNS, *RESPONSE_COLUMNS)
"""The columns that are read."""


@dataclass(frozen=True, slots=True)
class ResponseGroup:
    """A conversation with the responses to be scored, or the reason why it can't be.

    Attributes:
        id: The row's own id, else its number counted from 0.
        place: Source and number counted from 1 (the line in JSONL), for messages.
        position: How much of the input has been read with this row, in the unit of `RowSource.size`.
        conversation: Turns that end with the user turn that was answered.
        responses: The responses.
        fault: Why it can't be judged, or nothing.
        num_outputs: Rows of the output that it becomes: one per response, and one where no response is known.
    """

    id: str | int
    place: str
    position: int
    conversation: list[Message] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    fault: str = ""
    num_outputs: int = 1


def read_groups(rows: Iterable[Row], first: int = 0) -> Iterator[ResponseGroup]:
    """The group of each row; `first` is the number of the first one, from 0. Bad rows come with their `fault`."""
    return (group_of(row, number) for number, row in enumerate(rows, start=first))


def group_of(row: Row, number: int) -> ResponseGroup:
    """A row's group; `number` counts from 0 and stands in for a missing id."""
    own = row.columns.get("id")
    group_id = number if own is None else own if isinstance(own, (str, int)) else str(own)
    try:
        if row.fault:
            raise BadRowError(row.fault)
        conversation, responses = read_group(row.columns)
        if not responses:
            raise BadRowError(f"the row has none of {', '.join(RESPONSE_COLUMNS)}, and its last turn is the user's")
    except BadRowError as error:
        return ResponseGroup(
            group_id, row.place, row.position, fault=str(error), num_outputs=_num_responses(row, at_least=1)
        )
    return ResponseGroup(group_id, row.place, row.position, conversation, responses, num_outputs=len(responses))


def _num_responses(row: Row, at_least: int) -> int:
    """How many responses a bad row has, as far as that can be told."""
    try:
        return max(at_least, len(find_responses(row.columns) or ()))
    except BadRowError:
        return at_least
