"""A chat that ends with an open assistant's turn, as tokens; and which of them are that turn's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError

PART_OF_CHARACTER = "\ufffd"
"""How a tokenizer decodes a token that is only a part of a character."""
SLACK = 4
"""Characters, white space as a rule, that may be missing between two tokens decoded alone."""


def other_answer(answer: str) -> str:
    """A short answer that starts with another character, so that two chats part where the answer starts."""
    return "?" if answer.startswith(".") else "."


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences share from their start on.

    Example:
        >>> common_length([4, 2, 7], [4, 2, 9, 9])
        2
    """
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def chat_tokens(tokenizer: Any, messages: Sequence[Message], template: Mapping[str, Any]) -> tuple[list[int], int]:
    """Token ids of a chat whose last turn stays open, as vLLM renders it.

    Args:
        tokenizer: One of transformers, with a chat template.
        messages: The chat, the assistant's open turn last.
        template: Further arguments of its chat template, such as `enable_thinking`.

    Returns:
        The ids, and how many of them, the first ones, are not the open turn's. Where that turn starts is where a
        chat with another one parts: exact for any tokenizer and template.

    Raises:
        JudgeUnusableError: There is no chat template, or it can't end with an open assistant's turn.
    """
    *chat, answer = messages
    ids = _rendered(tokenizer, messages, template)
    others = _rendered(tokenizer, [*chat, {**answer, "content": other_answer(answer["content"])}], template)
    start = common_length(ids, others)
    if start == 0 or start == len(ids):
        raise JudgeUnusableError("the model's chat template leaves the assistant's last turn out; it can't be a judge")
    return ids, start


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token decoded alone, as vLLM shows them; see `pieces` for what that loses."""
    return [tokenizer.decode([token_id]) for token_id in ids]


def pieces(answer: str, texts: Sequence[str]) -> list[str]:
    """An answer cut where its tokens begin: one piece per token, which joined are the answer again.

    Args:
        answer: The answer, not empty.
        texts: Its tokens, each decoded alone: white space may be missing, and a part of a character is U+FFFD.

    Example:
        >>> pieces("Eat \u672c now", ["Eat", " \ufffd", "\ufffd", "\ufffd", "now"])
        ['Eat', ' ', '', '\u672c ', 'now']
    """
    starts, at, hidden = [], 0, 0
    for text in texts:
        whole = text.replace(PART_OF_CHARACTER, "")
        found = answer.find(whole, at, at + len(whole) + hidden + SLACK)
        hidden = 0 if whole and found >= 0 else hidden + 1
        starts.append(max(found, at))
        at = max(found, at) + (len(whole) if found >= 0 else 0)
    return [answer[start:end] for start, end in pairwise([0, *starts[1:], len(answer)])]


def _rendered(tokenizer: Any, messages: Sequence[Message], template: Mapping[str, Any]) -> list[int]:
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=False, continue_final_message=True, **template
        )
    except Exception as error:  # whatever a model's own Jinja template raises
        reason = " ".join(str(error).split())[:200]
        raise JudgeUnusableError(f"the model's chat template can't end with an open turn: {reason}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
