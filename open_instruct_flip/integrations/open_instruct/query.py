"""From Open Instruct's flat `query` back to a conversation whose hidden part is known exactly."""

from __future__ import annotations

from typing import NamedTuple

from open_instruct_flip.conversation import Message, Target


class KnownInstruction(NamedTuple):
    """A conversation for a judge, and whether its context could be told apart from the instruction."""

    conversation: list[Message]
    context_matches: bool


def read_query(query: str | None, instruction: str, target: Target = "last_user") -> KnownInstruction:
    """Take the instruction out of a query, and keep the rest as context.

    Open Instruct joins turns as `role: content` lines, from which turns can't be recovered for certain. So the
    instruction is taken from the ground truth, where it stands exactly; it is cut off the query's end (or its
    start, for a system prompt), and what is left stays one block. Judges write turns as `role: content` lines
    too, so they read the block just as it was. A query without the instruction in its place is not used at all:
    it holds the instruction somewhere, and FLIP's judge must not see it.

    Args:
        query: Open Instruct's prompt text: every turn as "role: content", joined by newlines.
        instruction: The exact text to be inferred: the last user turn, or the system prompt.
        target: Which of the two.

    Returns:
        A conversation that ends with a user turn, and whether the context is the query's. With a system prompt
        as the target, the user turns are the context; without them, an empty user turn stands in.

    Example:
        >>> read_query("system: Be brief.\\nuser: Hi", "Hi").conversation
        [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hi'}]
    """
    turn = f"{'system' if target == 'system' else 'user'}: {instruction}"
    if target == "system":
        found, context = _cut_start(query or "", turn)
        return KnownInstruction([_turn("system", instruction), _block(context, "user")], found)
    found, context = _cut_end(query or "", turn)
    earlier = [_block(context, "user")] if context else []
    return KnownInstruction([*earlier, _turn("user", instruction)], found)


def read_open_query(query: str | None, ground_truth: str) -> KnownInstruction:
    """As `read_query`, for judges that may see the instruction and datasets whose ground truth may be something else.

    Where the ground truth is no instruction, the whole query is one user turn.
    """
    known = read_query(query, ground_truth)
    if known.context_matches or not query:
        return known
    return KnownInstruction([_turn("user", query.removeprefix("user: "))], True)


def _cut_end(query: str, turn: str) -> tuple[bool, str]:
    if query == turn:
        return True, ""
    if query.endswith(f"\n{turn}"):
        return True, query.removesuffix(f"\n{turn}")
    return False, ""


def _cut_start(query: str, turn: str) -> tuple[bool, str]:
    if query.startswith(f"{turn}\nuser: "):
        return True, query.removeprefix(f"{turn}\n")
    return False, ""


def _block(context: str, role: str) -> Message:
    """Everything as one turn: the first role is its role, later ones stay in its content."""
    first_role, colon, content = context.partition(": ")
    return _turn(first_role, content) if colon else _turn(role, context)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}
