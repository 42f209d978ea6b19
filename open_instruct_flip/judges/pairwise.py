"""Pairwise LLM judge, a baseline: the judge reads the instruction and two responses and says which is better."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any

from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.asking import Asked, Question
from open_instruct_flip.judges.config import ReplyConfig
from open_instruct_flip.judges.contract import ReplyForm
from open_instruct_flip.judges.group import GroupJudge, share_of_wins, split_usage
from open_instruct_flip.judges.prompt import PromptFiles
from open_instruct_flip.judges.reply import choice
from open_instruct_flip.rewards import FailureKind, Reward, Usage, precedence

FILES = PromptFiles("pairwise", frozenset({"instruction", "response_a", "response_b"}), "llmjudge_pairwise_ranking")
SCHEMA = {"winner": {"type": "string", "enum": ["A", "B", "tie"]}}
FORM = ReplyForm(SCHEMA, '{"winner": "..."}', '{"winner": "', ('"',), '"}', pattern="A|B|tie")
_POINTS_OF_A = {"A": 1.0, "tie": 0.5, "B": 0.0}


@dataclass(frozen=True)
class PairwiseConfig(ReplyConfig):
    """Options of the pairwise judge."""

    max_pairs: int = field(
        default=0,
        metadata={
            "help": "Pairs of a group that the pairwise judge compares, both orders each; 0 compares all. "
            "Never fewer than give every response one"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_pairs < 0:
            raise UsageError(f"--max_pairs must be 0 (all pairs) or above, got {self.max_pairs}")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one question said about response `a`, shown first, and response `b`."""

    a: int
    b: int
    asked: Asked[str]

    def points_of_a(self) -> float:
        return fmean(_POINTS_OF_A[one] for one in self.asked.readings)


class PairwiseJudge(GroupJudge):
    """Reward = the share of the group's other responses that one beats, ties half; see `Judge` for the arguments.

    Each pair is shown in both orders, since judges favour a position; a pair of which either order can't be read is
    left out. A response without a readable pair gets the failure of its first one.
    """

    name = "pairwise"
    config_class = PairwiseConfig
    config: PairwiseConfig

    def prompt_files(self) -> PromptFiles:
        return FILES

    async def compare(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        pairs = pairs_to_compare(len(responses), self.config.max_pairs, self.random(conversation, len(responses)))
        orders = [order for a, b in pairs for order in ((a, b), (b, a))]
        asked = await together(self.ask(self.question(conversation, [responses[a], responses[b]])) for a, b in orders)
        answers = [_Answer(*order, one) for order, one in zip(orders, asked, strict=True)]
        return [_reward(number, answers, counts) for number in range(len(responses))]

    def question(self, conversation: Sequence[Message], responses: Sequence[str]) -> Question[str]:
        return Question(responses, partial(self.build_messages, conversation), choice, self.as_asked(FORM))

    def build_messages(self, conversation: Sequence[Message], first: str, second: str) -> list[Message]:
        """The chat that asks which of two responses is better."""
        *turns, last = conversation
        prompt = self.prompt
        return prompt.messages(
            conversation=prompt.conversation(turns),
            instruction=last["content"],
            response_a=first,
            response_b=second,
            answer=self.as_asked(FORM).shown,
        )


def pairs_to_compare(count: int, max_pairs: int, rng: random.Random) -> list[tuple[int, int]]:
    """Pairs of `count` responses in a random order in which every response appears about equally often.

    Args:
        count: How many responses there are.
        max_pairs: How many pairs are wanted; 0 is all. At least so many come that each response is in one.
        rng: Draws the order.
    """
    circle = rng.sample(range(count), count)
    # Neighbours on the circle first, every second pair before those between, then those two apart, and so on.
    starts = [*range(0, count, 2), *range(1, count, 2)]
    ring = ((circle[k], circle[(k + step) % count]) for step in range(1, count // 2 + 1) for k in starts)
    pairs = list({frozenset(pair): pair for pair in ring}.values())
    return pairs[: max(max_pairs, (count + 1) // 2)] if max_pairs else pairs


def _reward(response: int, answers: Sequence[_Answer], counts: Sequence[int]) -> Reward:
    """One response's reward from all answers, of which two in a row are the two orders of a pair."""
    mine = [answer for answer in answers if response in (answer.a, answer.b)]
    points: dict[int, float] = {}
    failed: list[dict[str, Any]] = []
    for forth, back in zip(mine[::2], mine[1::2], strict=True):
        failures = [answer.asked.failure for answer in (forth, back) if answer.asked.failure]
        if failures:
            failed.append(min(failures, key=_precedence))
        else:
            won = (forth.points_of_a() + 1.0 - back.points_of_a()) / 2
            points[forth.b if response == forth.a else forth.a] = won if response == forth.a else 1.0 - won
    seen = _seen(response, mine)
    if not failed:
        return Reward(score=share_of_wins(response, counts, points), **seen)
    told = min(failed, key=_precedence)
    seen["detail"] = f"{len(failed)} of {len(mine) // 2} pairs left out: {told['detail']}"
    # The group is compared again once the judge is back: the pairs that it had time for are no fair sample.
    if not points or told["error"] is FailureKind.UNREACHABLE:
        return Reward(error=told["error"], **seen)
    return Reward(score=share_of_wins(response, counts, points), **seen)


def _precedence(failure: dict[str, Any]) -> int:
    return precedence(failure["error"])


def _seen(response: int, mine: Sequence[_Answer]) -> dict[str, Any]:
    """Cost, replies and cuts of the questions that one response was in."""
    shares = (split_usage(answer.asked.usage, 2)[response == answer.b] for answer in mine)
    cuts = (answer.asked.cut[response == answer.b] for answer in mine if answer.asked.cut)
    return {
        "usage": sum(shares, Usage()),
        "latency_s": fmean(answer.asked.latency_s for answer in mine) if mine else 0.0,
        "reply": "\n".join(answer.asked.reply for answer in mine if answer.asked.reply) or None,
        "truncated": any(cuts),
    }
