"""A row as a prompt for training: the turns up to the one that is to be answered. Rows that do not fit are named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import FlipError
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.shapes import (
    PROMPT_COLUMNS,
    BadRowError,
    find_turns,
    is_encodable,
    read_message,
    read_role,
)

# All that `read_prompt` may look at; other columns of a parquet file need not be read.
KNOWN_COLUMNS = (*PROMPT_COLUMNS, "language", "toxic", "redacted")
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation up to the user turn that is to be answered, with what its source says about it.

    `languages` are the source's labels of the conversation and of the instruction's turn, empty when it has none.
    """

    messages: tuple[Message, ...]
    languages: tuple[str, ...] = ()
    toxic: bool = False
    redacted: bool = False

    @property
    def instruction(self) -> str:
        """The last turn, which is always a user turn."""
        return self.messages[-1]["content"]


def read_prompt(columns: Mapping[str, Any], *, multi_turn: bool = False) -> ChatPrompt:
    """Read a row of any known shape.

    Args:
        columns: The row: see `rows.shapes.find_turns`.
        multi_turn: End with the last user turn instead of the first one.

    Raises:
        BadRowError: No shape fits, a turn is malformed, or there is no user turn.

    Example:
        >>> turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
        >>> read_prompt({"conversations": turns}).messages
        ({'role': 'user', 'content': 'Hi'},)
    """
    turns = find_turns(columns)
    end = _end(turns, multi_turn)
    labels = (columns.get("language"), turns[end].get("language"))
    return ChatPrompt(
        messages=tuple(_trainable(turn, number) for number, turn in enumerate(turns[: end + 1])),
        languages=tuple(label for label in labels if isinstance(label, str) and label.strip()),
        toxic=_is_flagged("toxic", columns, turns),
        redacted=_is_flagged("redacted", columns, turns),
    )


@dataclass
class BadRows:
    """Counts bad rows and keeps the places of the first `max_named`.

    Unless they are skipped, reading ends with a FlipError: after `max_named` bad rows, or at the end of the data, so
    that a user sees more than one of them at a time.
    """

    skip: bool = False
    max_named: int = 20
    remedy: str = "; --skip_bad_rows leaves them out"
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, row: Row, reason: str) -> None:
        self.count += 1
        if len(self.named) < self.max_named:
            self.named.append(f"{row.place}: {reason}")
        if len(self.named) == self.max_named:
            self.check()

    def check(self) -> None:
        """Raise FlipError if a bad row was met that is not to be skipped."""
        if self.count and not self.skip:
            raise FlipError(f"{self.count} bad rows ({'; '.join(self.named)}){self.remedy}")


def read_prompts(rows: Iterable[Row], bad_rows: BadRows, *, multi_turn: bool) -> Iterator[ChatPrompt]:
    """The prompts of all rows that fit a known shape; the others go to `bad_rows`, which may end the reading."""
    for row in rows:
        if row.fault:
            bad_rows.add(row, row.fault)
            continue
        try:
            yield read_prompt(row.columns, multi_turn=multi_turn)
        except BadRowError as error:
            bad_rows.add(row, str(error))
    bad_rows.check()


def conversation_key(messages: Iterable[Message]) -> bytes:
    """16 bytes that are equal for conversations that differ in case and white space only."""
    turns = [[message["role"], " ".join(message["content"].casefold().split())] for message in messages]
    return hashlib.blake2b(json.dumps(turns).encode(), digest_size=16).digest()


def _end(turns: list[dict[str, Any]], multi_turn: bool) -> int:
    users = [number for number, turn in enumerate(turns) if read_role(turn) == "user"]
    if not users:
        raise BadRowError("there is no user turn")
    return users[-1] if multi_turn else users[0]


def _trainable(turn: Mapping[str, Any], number: int) -> Message:
    """A turn that chat templates know and files can hold."""
    message = read_message(turn, number)
    if message["role"] not in ROLES:
        raise BadRowError(f"turn {number} has the role {message['role']!r}")
    if not is_encodable(message["content"]):
        raise BadRowError(f"turn {number} has half a surrogate pair, which UTF-8 can't hold")
    return message


def _is_flagged(flag: str, columns: Mapping[str, Any], turns: Iterable[Mapping[str, Any]]) -> bool:
    return bool(columns.get(flag)) or any(bool(turn.get(flag)) for turn in turns)
