"""Conversations, and which of their turns a judge has to infer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from open_instruct_flip.errors import UsageError

Target = Literal["last_user", "system"]
TARGETS: tuple[Target, ...] = get_args(Target)


class Message(TypedDict):
    """One turn, as in every chat API."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class HiddenInstruction:
    """A conversation taken apart: what a FLIP judge may see, and what it has to infer.

    `context` is all that reaches the judge's prompt; `instruction` is only ever compared with.
    """

    context: tuple[Message, ...]
    instruction: str


def check_conversation(conversation: Sequence[Message]) -> None:
    """Raise UsageError unless this is a list of role and content that ends with a user turn."""
    if isinstance(conversation, (str, bytes)) or not isinstance(conversation, Sequence):
        raise UsageError(
            f"a conversation is a list of {{'role', 'content'}}, got {type(conversation).__name__}; "
            "wrap a single instruction as [{'role': 'user', 'content': ...}]"
        )
    if not conversation:
        raise UsageError("the conversation is empty; it must end with the user turn that was answered")
    for number, message in enumerate(conversation):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise UsageError(f"turn {number} of the conversation is no {{'role', 'content'}}: {message!r:.80}")
        if not isinstance(message["role"], str):
            raise UsageError(f"turn {number} of the conversation has the role {message['role']!r:.80}")
        if not isinstance(message["content"], str):
            kind = type(message["content"]).__name__
            raise UsageError(f"turn {number} of the conversation has a content that is no text but {kind}")
    if conversation[-1]["role"] != "user":
        raise UsageError(f"the conversation must end with a user turn, its last turn is {conversation[-1]['role']!r}")


def hide_instruction(conversation: Sequence[Message], target: Target = "last_user") -> HiddenInstruction:
    """Take the turn to be inferred out of a conversation.

    Args:
        conversation: Turns that end with the user turn that was answered.
        target: "last_user" infers the last user turn from the earlier ones and the response, as the
            authors' training code does; "system" infers the system prompt from the user turns and the
            response, as in the paper (arXiv 2602.13551).

    Raises:
        UsageError: The conversation does not end with a user turn, or has no system prompt to infer.
    """
    check_conversation(conversation)
    if target == "last_user":
        return HiddenInstruction(tuple(conversation[:-1]), conversation[-1]["content"])
    if target != "system":
        raise UsageError(f"the target is one of {', '.join(TARGETS)}, got {target!r}")
    system = [m["content"] for m in conversation if m["role"] == "system"]
    if not system:
        raise UsageError("target 'system' infers the system prompt, but the conversation has none; use 'last_user'")
    return HiddenInstruction(tuple(m for m in conversation if m["role"] != "system"), "\n".join(system))


def with_instruction(
    conversation: Sequence[Message], instruction: str | None, target: Target = "last_user"
) -> list[Message]:
    """A conversation whose turn to be inferred reads `instruction`, where a trainer hands that over by itself.

    Args:
        conversation: The policy's prompt, which may wrap the instruction in other words; or nothing. What stands behind
            its last user turn, such as a reference answer, is left out: that turn is the instruction's place.
        instruction: The exact instruction, such as an RLVR dataset's ground truth; None changes nothing.
        target: Which turn it is.

    Example:
        >>> with_instruction([], "Hi")
        [{'role': 'user', 'content': 'Hi'}]
    """
    if instruction is None:
        return list(conversation)
    users = [number for number, turn in enumerate(conversation) if turn["role"] == "user"]
    asked = conversation[: users[-1] + 1] if users else conversation
    if target == "system":
        others = [turn for turn in asked if turn["role"] != "system"]
        return [{"role": "system", "content": instruction}, *others]
    return [*(asked[:-1] if users else asked), {"role": "user", "content": instruction}]
