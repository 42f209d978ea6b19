"""What a benchmark is made of: instructions with responses of which some are known to be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from open_instruct_flip.conversation import Message


@dataclass(frozen=True, slots=True)
class Item:
    """An instruction in its conversation, and responses to it.

    Attributes:
        id: Unique in its benchmark, the same in every run.
        subset: Which part of the benchmark it belongs to.
        conversation: Turns that end with the user turn that was answered.
        responses: What is judged, in the order of the benchmark's file.
        right: For each response, whether it is one that a judge should prefer; None where nobody has said.
    """

    id: str
    subset: str
    conversation: tuple[Message, ...]
    responses: tuple[str, ...]
    right: tuple[bool | None, ...]

    @property
    def instruction(self) -> str:
        """The turn that was answered."""
        return self.conversation[-1]["content"]


def preference(
    item_id: str, subset: str, conversation: tuple[Message, ...], chosen: Sequence[str], rejected: Sequence[str]
) -> Item:
    """An item of preferred and other responses, the preferred ones first.

    Raises:
        ValueError: As `check_apart`.
    """
    check_apart(chosen, rejected)
    right = (True,) * len(chosen) + (False,) * len(rejected)
    return Item(item_id, subset, conversation, (*chosen, *rejected), right)


def check_apart(chosen: Sequence[str], rejected: Sequence[str]) -> None:
    """Raise ValueError where there is no preferred response or no other one, or the same text is both."""
    for kind, responses in (("chosen", chosen), ("rejected", rejected)):
        if not responses:
            raise ValueError(f"{kind} holds no response")
    both = next((response for response in chosen if response in rejected), None)
    if both is not None:
        raise ValueError(f"the same response is both chosen and rejected: {both!r:.60}")
