"""A group of responses to one prompt, judged: from predictions to the scores that the optimiser sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from open_instruct_flip.rewards import Reward


@dataclass(frozen=True)
class JudgedGroup:
    """What became of one group.

    Attributes:
        instruction: The instruction, exactly.
        responses: The responses without their thinking sections, in the order of the samples.
        rewards: The judge's verdicts on them.
        scores: What the optimiser gets for them, in [0, 1], failures replaced.
        context_matches: Whether the query held the instruction where it belongs, so that its rest is the context.
        measure: Name of the similarity that `rewards` hold, or None when the judge does not infer instructions.
    """

    instruction: str
    responses: Sequence[str]
    rewards: Sequence[Reward]
    scores: Sequence[float]
    context_matches: bool
    measure: str | None = None
