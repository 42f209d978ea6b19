"""Rows to be scored, one at a time from JSONL or parquet, each with the place it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message, check_conversation
from open_instruct_flip.errors import MissingDependencyError, UsageError

SUFFIXES = (".jsonl", ".parquet")
COLUMNS = ("id", "messages", "prompt", "responses", "response")
INSTALL = "pip install 'open-instruct-flip[data]'"
PARQUET_BATCH_ROWS = 256


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


def read_rows(path: Path) -> Iterator[ScoreRow]:
    """Stream the rows of a file. Rows that can't be judged come with their `fault`.

    Raises:
        UsageError: There is no such file, or it is neither JSONL nor parquet.
    """
    check_suffix(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def input_size(path: Path) -> int:
    """Bytes of a JSONL file, rows of a parquet file."""
    if path.suffix != ".parquet":
        return path.stat().st_size
    import pyarrow.parquet as parquet

    count: int = parquet.read_metadata(path).num_rows
    return count


def check_suffix(path: Path) -> None:
    """Raise UsageError unless the file's name says that it is JSONL or parquet."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path} ends neither in {' nor in '.join(SUFFIXES)}, which say how a file is read and written"
        )


def _read_jsonl(path: Path) -> Iterator[ScoreRow]:
    number = position = 0
    with path.open("rb") as lines:
        for line_number, line in enumerate(lines, start=1):
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


def _read_parquet(path: Path) -> Iterator[ScoreRow]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError(f"reading {path} needs pyarrow: {INSTALL}") from error
    number = 0
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            columns = [name for name in file.schema_arrow.names if name in COLUMNS]
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    yield score_row(values, number, f"{path}:{number + 1}", number + 1)
                    number += 1
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{path} is no readable parquet file (after row {number}): {reason}") from error


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
        return turn  # type: ignore[no-any-return]  # check_conversation says what is wrong with it
    return {"role": turn["role"], "content": turn["content"]}


def _responses(columns: Mapping[str, Any], conversation: list[Message]) -> list[Any]:
    """The values of `responses` or `response`; else the conversation's last turn, which is then taken off it."""
    responses, response = columns.get("responses"), columns.get("response")
    if responses is None and response is None:
        if conversation and isinstance(conversation[-1], dict) and conversation[-1].get("role") == "assistant":
            return [conversation.pop()["content"]]
        raise BadRow("the row has neither 'responses' nor 'response', and its last turn is not the assistant's")
    if responses is None:
        return [response]
    if not isinstance(responses, list):
        raise BadRow(f"'responses' is no list but {type(responses).__name__}; a single one is called 'response'")
    if not responses:
        raise BadRow("'responses' is empty")
    return responses
