"""Reading a benchmark's rows: what is wrong with one is said with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.shapes import BadRowError, read_message


@contextmanager
def faults_of(row: Row) -> Iterator[None]:
    """Turn what goes wrong in here into a UsageError with the row's place; an unreadable row is one at once."""
    try:
        if row.fault:
            raise ValueError(row.fault)
        yield
    except KeyError as error:
        raise UsageError(f"{row.place}: there is no column {error.args[0]!r}; it has {_shown(row)}") from error
    except (ValueError, BadRowError) as error:
        raise UsageError(f"{row.place}: {error}") from error


def conversation_of(prompt: Any) -> tuple[Message, ...]:
    """The turns of a prompt: a text is one turn of the user, a list is turns.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(prompt, str) and prompt.strip():
        return ({"role": "user", "content": prompt},)
    if isinstance(prompt, list) and prompt and all(isinstance(turn, dict) for turn in prompt):
        return tuple(read_message(turn, number) for number, turn in enumerate(prompt))
    raise ValueError(f"the prompt is neither a text with something in it nor a list of turns: {prompt!r:.60}")


def text_of(columns: Mapping[str, Any], name: str) -> str:
    """A column's text; raises ValueError where it holds something else, KeyError where there is none."""
    value = columns[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text but {type(value).__name__}")
    return value


def texts_of(columns: Mapping[str, Any], name: str) -> list[str]:
    """A column's texts, from a list or a single one; raises ValueError and KeyError as `text_of`."""
    value = columns[name]
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{name} is neither a text nor a list of texts: {value!r:.60}")
    return values


def _shown(row: Row) -> str:
    return ", ".join(row.columns) or "none"
