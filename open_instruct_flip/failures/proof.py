"""Whether a judge model can be a judge at all: ten built-in responses, each beside one that answers something else.

A run with a judge that can't be read, or that can't tell an answer from a stray one, burns hours for nothing. The test
is easy on purpose: it does not say that a judge is good, only that it is not useless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message, Target
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import REPLY_FAILURES, Reward

ANSWERED = (
    ("Name three primary colors.", "The three primary colors are red, yellow and blue."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("Write a short recipe for pancakes.", "Pancakes: mix flour, milk and two eggs, then fry thin layers in butter."),
    ("Explain why the sky is blue.", "The sky is blue because air scatters blue light more than it scatters red."),
    ("List two advantages of public transport.", "Public transport has two advantages: less traffic, cleaner air."),
    ("Translate 'good morning' into Spanish.", "In Spanish, 'good morning' is 'buenos días'."),
    (
        "How do plants make their food?",
        "Plants make their food by photosynthesis: from light, water and air.",
    ),
    (
        "Give a tip for sleeping better at night.",
        "To sleep better at night, keep your bedroom dark and quiet.",
    ),
    ("Describe the job of a firefighter.", "The job of a firefighter is to put out fires and to rescue people."),
    ("Suggest a name for a coffee shop.", "A good name for a coffee shop would be The Morning Bean."),
)
"""Instructions with a response to each."""
MIN_READABLE = 8


@dataclass(frozen=True, slots=True)
class Proof:
    """What a judge made of the built-in responses.

    Attributes:
        own: Rewards of the responses under their own instructions.
        stray: Rewards of the same responses under one another's instructions.
    """

    own: Sequence[Reward]
    stray: Sequence[Reward]

    @property
    def readable(self) -> int:
        """How many of the ten got a reward under their own instruction."""
        return sum(reward.score is not None for reward in self.own)

    @property
    def means(self) -> tuple[float, float]:
        """Mean reward under the own instruction and under another, over those that have one; 0.0 where none has."""
        own, stray = ([r.score for r in rewards if r.score is not None] for rewards in (self.own, self.stray))
        return fmean(own or [0.0]), fmean(stray or [0.0])

    @property
    def problem(self) -> str | None:
        """Why a run should not start with this judge, with what to try; None where it may."""
        failed = next((reward for reward in self.own if reward.error), None)
        if failed is not None and self.readable < MIN_READABLE:
            unread = failed.error in REPLY_FAILURES
            what = "could be read" if unread else "got a verdict"
            remedy = "; try --reply_contract auto, or a larger judge model" if unread else ""
            return f"only {self.readable} of {len(self.own)} built-in responses {what}: {failed.detail}{remedy}"
        own, stray = self.means
        if own <= stray:
            return (
                f"it can't tell an answer from a stray one: mean reward {own:.2f} of {len(self.own)} built-in "
                f"responses, {stray:.2f} with their instructions exchanged; try another judge model or --judge"
            )
        return None


async def prove(judge: Judge) -> Proof:
    """Have a judge reward the built-in responses, each in a group with the next one's.

    Raises:
        JudgeUnusableError: No request to this judge can succeed.
    """
    strays = [response for _, response in (*ANSWERED[1:], ANSWERED[0])]
    groups = await together(
        judge.score(_asked(instruction, judge.target), [response, stray])
        for (instruction, response), stray in zip(ANSWERED, strays, strict=True)
    )
    return Proof([own for own, _ in groups], [stray for _, stray in groups])


def _asked(instruction: str, target: Target) -> list[Message]:
    """A conversation with nothing beside the instruction that would give it away."""
    if target == "system":
        return [{"role": "system", "content": instruction}, {"role": "user", "content": "Please begin."}]
    return [{"role": "user", "content": instruction}]
