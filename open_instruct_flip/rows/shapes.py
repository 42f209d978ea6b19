"""The shapes chat data comes in, read into one: WildChat, `messages`, ShareGPT, Alpaca, plain prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from open_instruct_flip.conversation import Message, check_conversation
from open_instruct_flip.errors import FlipError, UsageError

TURN_COLUMNS = ("conversation", "conversations", "messages")
TEXT_COLUMNS = ("prompt", "instruction", "question", "query")
SYSTEM_COLUMNS = ("system", "system_prompt")
PROMPT_COLUMNS = (*TURN_COLUMNS, *TEXT_COLUMNS, *SYSTEM_COLUMNS, "input")
"""All that the turns of a row are made from; other columns of a parquet file need not be read for them."""
RESPONSE_COLUMNS = ("responses", "response", "output")

# ShareGPT's names for the roles, and a few that its relatives use.
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "model": "assistant"}


class BadRowError(FlipError):
    """A row that fits none of the shapes; its text is the reason."""


def find_turns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The turns of a row as they stand there.

    They are looked for in `conversation` (WildChat), `conversations` (ShareGPT) and `messages`, then as texts in
    `prompt`, `instruction` with Alpaca's `input`, `question` and `query`. A `system` column comes before them.

    Raises:
        BadRowError: No shape fits.
    """
    for name in TURN_COLUMNS:
        if columns.get(name) is not None:
            return _turns(columns, name)
    for name in TEXT_COLUMNS:
        if isinstance(columns.get(name), list):
            return _turns(columns, name)
        if columns.get(name) is not None:
            return [*_system_turn(columns), {"role": "user", "content": _with_input(columns, name)}]
    raise BadRowError(f"none of the columns {', '.join(TURN_COLUMNS + TEXT_COLUMNS)} has a value")


def read_role(turn: Mapping[str, Any]) -> Any:
    """A turn's role in the names of chat APIs."""
    role = turn.get("role") if turn.get("role") is not None else turn.get("from")
    return _ROLES.get(role, role) if isinstance(role, str) else role


def read_message(turn: Mapping[str, Any], number: int) -> Message:
    """A turn as a message without further keys.

    Raises:
        BadRowError: It has no role, or its content is no text.
    """
    role = read_role(turn)
    content = _content(turn)
    if not isinstance(role, str):
        raise BadRowError(f"turn {number} has the role {role!r:.80}")
    if not isinstance(content, str):
        raise BadRowError(f"turn {number} has a content that is no text but {type(content).__name__}")
    return {"role": role, "content": content}


def read_group(columns: Mapping[str, Any]) -> tuple[list[Message], list[str]]:
    """The conversation that was answered, and the responses to it; none where the row holds only a prompt.

    Responses stand in `responses`, `response` or Alpaca's `output`; else the conversation's last turn is one, where it
    is the assistant's.

    Raises:
        BadRowError: No shape fits, or a turn or a response is malformed.

    Example:
        >>> read_group({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]})
        ([{'role': 'user', 'content': 'Hi'}], ['Hello'])
    """
    conversation, responses = read_turns(columns)
    try:
        check_conversation(conversation)
    except UsageError as error:
        raise BadRowError(str(error)) from None
    return conversation, responses


def read_turns(columns: Mapping[str, Any]) -> tuple[list[Message], list[str]]:
    """As `read_group`, whatever turns stand before the responses, and none if the first one is a response itself.

    Raises:
        BadRowError: No shape fits, or a turn or a response is malformed.
    """
    turns = [read_message(turn, number) for number, turn in enumerate(find_turns(columns))]
    responses = find_responses(columns)
    if responses is None:
        responses = [turns.pop()["content"]] if turns[-1]["role"] == "assistant" else []
    for index, response in enumerate(responses):
        if not isinstance(response, str):
            raise BadRowError(f"response {index} is no text but {type(response).__name__}")
    return turns, responses


def find_responses(columns: Mapping[str, Any]) -> list[Any] | None:
    """The values of a row's own column of responses, or None where it has none.

    Raises:
        BadRowError: `responses` is no list, or an empty one.
    """
    responses = columns.get("responses")
    if responses is None:
        single = columns.get("response")
        if single is None and columns.get("instruction") is not None:
            single = columns.get("output")
        return None if single is None else [single]
    if not isinstance(responses, list):
        raise BadRowError(f"'responses' is no list but {type(responses).__name__}; a single one is called 'response'")
    if not responses:
        raise BadRowError("'responses' is empty")
    return responses


def is_encodable(text: str) -> bool:
    """Whether UTF-8, and with it parquet, can hold the text."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _content(turn: Mapping[str, Any]) -> Any:
    return turn.get("content") if turn.get("content") is not None else turn.get("value")


def _turns(columns: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The turns of a column behind the system prompt that stands beside them, unless they hold one themselves."""
    turns = columns[name]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise BadRowError(f"{name} is no list of turns")
    beside = _system_turn(columns)
    own = [turn for turn in turns if read_role(turn) == "system"]
    if beside and own and [beside[0]["content"]] != list(map(_content, own)):
        raise BadRowError("the turns hold another system prompt than the column beside them")
    return turns if own else [*beside, *turns]


def _system_turn(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts = [columns[name] for name in SYSTEM_COLUMNS if columns.get(name)]
    return [{"role": "system", "content": text} for text in texts[:1]]


def _with_input(columns: Mapping[str, Any], name: str) -> Any:
    """Alpaca keeps the material an instruction is about in a column of its own."""
    material = columns.get("input") if name == "instruction" else None
    if isinstance(material, str) and material.strip() and isinstance(columns[name], str):
        return f"{columns[name]}\n\n{material}"
    return columns[name]
