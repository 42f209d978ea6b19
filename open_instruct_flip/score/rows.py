"""Rows to be scored, one at a time from JSONL or parquet, each with the place it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message, check_conversation
from open_instruct_flip.errors import UsageError
from open_instruct_flip.score.parquet import num_parquet_rows, read_parquet

SUFFIXES = (".jsonl", ".parquet")
COLUMNS = ("id", "messages", "prompt", "responses", "response")


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A conversation with the responses to be scored, or the reason why it can't be.

    Attributes:
        id: The row's own id, else its number counted from 0.
        place: File and number counted from 1 (the line in JSONL), for messages.
        position: How much of the input has been read with this row, in the unit of `input_size`.
        conversation: Turns that end with the user turn that was answered.
        responses: The responses; what is known of them where `fault` says why the row can't be judged.
        fault: Why it can't be judged, or nothing.
    """

    id: str | int
    place: str
    position: int
    conversation: list[Message] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def num_outputs(self) -> int:
        """Rows of the output that this row becomes: one per response, and one where there is no response at all."""
        return max(1, len(self.responses))


class BadRow(ValueError):
    """A row that can't be judged; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins: the row's number, and for JSONL its line, both from 0, and its first byte."""

    number: int = 0
    line: int = 0
    byte: int = 0


def read_rows(path: Path, start: Start = Start()) -> Iterator[ScoreRow]:
    """Stream the rows of a file. Rows that can't be judged come with their `fault`.

    Raises:
        UsageError: There is no such file, or it is neither JSONL nor parquet.
    """
    check_suffix(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    if path.suffix != ".parquet":
        return _read_jsonl(path, start)
    rows = enumerate(read_parquet(path, COLUMNS, start.number), start=start.number)
    return (score_row(columns, number, f"{path}:{number + 1}", number + 1) for number, columns in rows)


def input_size(path: Path) -> int:
    """Bytes of a JSONL file, rows of a parquet file."""
    return num_parquet_rows(path) if path.suffix == ".parquet" else path.stat().st_size


def check_suffix(path: Path) -> None:
    """Raise UsageError unless the file's name says that it is JSONL or parquet."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path} ends neither in {' nor in '.join(SUFFIXES)}, which say how a file is read and written"
        )


def _read_jsonl(path: Path, start: Start) -> Iterator[ScoreRow]:
    number, position = start.number, start.byte
    with path.open("rb") as lines:
        lines.seek(start.byte)
        for line_number, line in enumerate(lines, start=start.line + 1):
            position += len(line)
            if line.strip():
                yield _json_row(line, number, f"{path}:{line_number}", position)
                number += 1


def _json_row(line: bytes, number: int, place: str, position: int) -> ScoreRow:
    try:
        columns = json.loads(line)
    except (ValueError, RecursionError) as error:
        return ScoreRow(number, place, position, fault=f"the line is no JSON: {error}")
    if not isinstance(columns, dict):
        return ScoreRow(number, place, position, fault=f"the line is no JSON object but {type(columns).__name__}")
    return score_row(columns, number, place, position)


def score_row(columns: Mapping[str, Any], number: int, place: str, position: int) -> ScoreRow:
    """A row from its columns; `number` counts from 0 and stands in for a missing id."""
    own = columns.get("id")
    row_id = number if own is None else own if isinstance(own, (str, int)) else str(own)
    responses: list[str] = []
    try:
        conversation = _conversation(columns)
        responses = _responses(columns, conversation)
        check_conversation(conversation)
        for index, response in enumerate(responses):
            if not isinstance(response, str):
                raise BadRow(f"response {index} is no text but {type(response).__name__}")
    except (BadRow, UsageError) as error:
        return ScoreRow(row_id, place, position, responses=responses, fault=str(error))
    return ScoreRow(row_id, place, position, conversation, responses)


def _conversation(columns: Mapping[str, Any]) -> list[Message]:
    """The turns of `messages` or `prompt`, a new list without further keys."""
    turns = columns.get("messages")
    if turns is None:
        turns = columns.get("prompt")
    if turns is None:
        raise BadRow("the row has neither 'messages' nor 'prompt'")
    if isinstance(turns, str):
        return [{"role": "user", "content": turns}]
    if not isinstance(turns, list):
        raise BadRow(f"the conversation is no list of turns but {type(turns).__name__}")
    return [_turn(turn) for turn in turns]


def _turn(turn: Any) -> Message:
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        return turn  # check_conversation says what is wrong with it
    return {"role": turn["role"], "content": turn["content"]}


def _responses(columns: Mapping[str, Any], conversation: list[Message]) -> list[Any]:
    """The values of `responses` or `response`; else the conversation's last turn, which is then taken off it."""
    responses, response = columns.get("responses"), columns.get("response")
    if responses is None and response is None:
        if conversation and isinstance(conversation[-1], dict) and conversation[-1].get("role") == "assistant":
            return [conversation.pop().get("content")]
        raise BadRow("the row has neither 'responses' nor 'response', and its last turn is not the assistant's")
    if responses is None:
        return [response]
    if not isinstance(responses, list):
        raise BadRow(f"'responses' is no list but {type(responses).__name__}; a single one is called 'response'")
    if not responses:
        raise BadRow("'responses' is empty")
    return responses
