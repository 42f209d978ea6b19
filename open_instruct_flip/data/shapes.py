"""The shapes chat data comes in, read into one: WildChat, `messages`, ShareGPT, Alpaca, plain prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import FlipError

TURN_COLUMNS = ("conversation", "conversations", "messages")
TEXT_COLUMNS = ("prompt", "instruction", "question", "query")
SYSTEM_COLUMNS = ("system", "system_prompt")

# All that `read_prompt` may look at; other columns of a parquet file need not be read.
KNOWN_COLUMNS = (*TURN_COLUMNS, *TEXT_COLUMNS, *SYSTEM_COLUMNS, "input", "language", "toxic", "redacted")

# ShareGPT's names for the roles, and a few that its relatives use.
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "model": "assistant"}
KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})


class BadRowError(FlipError):
    """A row that fits none of the shapes; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Prompt:
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


def read_prompt(columns: Mapping[str, Any], *, multi_turn: bool = False) -> Prompt:
    """Read a row of any known shape.

    Args:
        columns: The row. Turns are looked for in `conversation` (WildChat), `conversations` (ShareGPT) and
            `messages`, then texts in `prompt`, `instruction` with Alpaca's `input`, `question` and `query`.
        multi_turn: End with the last user turn instead of the first one.

    Raises:
        BadRowError: No shape fits, a turn is malformed, or there is no user turn.

    Example:
        >>> turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
        >>> read_prompt({"conversations": turns}).messages
        ({'role': 'user', 'content': 'Hi'},)
    """
    turns = _turns(columns)
    end = _end(turns, multi_turn)
    labels = (columns.get("language"), turns[end].get("language"))
    return Prompt(
        messages=tuple(_message(turn, number) for number, turn in enumerate(turns[: end + 1])),
        languages=tuple(label for label in labels if isinstance(label, str)),
        toxic=_is_flagged("toxic", columns, turns),
        redacted=_is_flagged("redacted", columns, turns),
    )


def _turns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name in TURN_COLUMNS:
        if columns.get(name) is not None:
            return _checked(columns[name], name)
    for name in TEXT_COLUMNS:
        if isinstance(columns.get(name), list):
            return _checked(columns[name], name)
        if columns.get(name) is not None:
            return [*_system_turn(columns), {"role": "user", "content": _with_input(columns, name)}]
    raise BadRowError(f"none of the columns {', '.join(TURN_COLUMNS + TEXT_COLUMNS)} has a value")


def _checked(turns: Any, column: str) -> list[dict[str, Any]]:
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise BadRowError(f"{column} is no list of turns")
    return turns


def _system_turn(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts = [columns[name] for name in SYSTEM_COLUMNS if columns.get(name)]
    return [{"role": "system", "content": text} for text in texts[:1]]


def _with_input(columns: Mapping[str, Any], name: str) -> Any:
    """Alpaca keeps the material an instruction is about in a column of its own."""
    material = columns.get("input") if name == "instruction" else None
    if isinstance(material, str) and material.strip() and isinstance(columns[name], str):
        return f"{columns[name]}\n\n{material}"
    return columns[name]


def _end(turns: list[dict[str, Any]], multi_turn: bool) -> int:
    users = [number for number, turn in enumerate(turns) if _role(turn) == "user"]
    if not users:
        raise BadRowError("there is no user turn")
    return users[-1] if multi_turn else users[0]


def _role(turn: Mapping[str, Any]) -> Any:
    role = turn.get("role") if turn.get("role") is not None else turn.get("from")
    return ROLES.get(role, role) if isinstance(role, str) else role


def _message(turn: Mapping[str, Any], number: int) -> Message:
    role = _role(turn)
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    if role not in KNOWN_ROLES:
        raise BadRowError(f"turn {number} has the role {role!r}")
    if not isinstance(content, str):
        raise BadRowError(f"turn {number} has a content that is no text but {type(content).__name__}")
    if not is_encodable(content):
        raise BadRowError(f"turn {number} has half a surrogate pair, which UTF-8 can't hold")
    return {"role": role, "content": content}


def is_encodable(text: str) -> bool:
    """Whether UTF-8, and with it parquet, can hold the text."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _is_flagged(flag: str, columns: Mapping[str, Any], turns: Iterable[Mapping[str, Any]]) -> bool:
    return bool(columns.get(flag)) or any(bool(turn.get(flag)) for turn in turns)


def conversation_key(messages: Iterable[Message]) -> bytes:
    """16 bytes that are equal for conversations that differ in case and white space only."""
    turns = [[message["role"], " ".join(message["content"].casefold().split())] for message in messages]
    return hashlib.blake2b(json.dumps(turns).encode(), digest_size=16).digest()
