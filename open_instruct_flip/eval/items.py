"""What a benchmark is made of: instructions with responses of which some are known to be right."""

from __future__ import annotations

from dataclasses import dataclass

from open_instruct_flip.conversation import Message


@dataclass(frozen=True, slots=True)
class Item:
    """An instruction in its conversation, and responses to it.

    Attributes:
        id: Unique in its benchmark, the same in every run.
        subset: Which part of the benchmark it belongs to.
        conversation: Turns that end with the user turn that was answered.
        responses: What is judged, at least two, in the order of the benchmark's file.
        right: For each response, whether it is one that a judge should prefer.
    """

    id: str
    subset: str
    conversation: tuple[Message, ...]
    responses: tuple[str, ...]
    right: tuple[bool, ...]
