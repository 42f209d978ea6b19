"""Pairwise LLM judge, a baseline: the judge reads the instruction and two responses and says which is better."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.base import failed_request, readable
from open_instruct_flip.judges.group import GroupJudge, share_of_wins, split_usage
from open_instruct_flip.judges.reply import UnreadableReply, choice
from open_instruct_flip.rewards import FailureKind, Reward, Usage

CHOICE_SCHEMA = {"reasoning": {"type": "string"}, "winner": {"type": "string", "enum": ["A", "B", "tie"]}}
_POINTS_OF_A = {"A": 1.0, "tie": 0.5, "B": 0.0}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one request said about response `a`, shown first, and response `b`; `verdict` is the reward of `a`."""

    a: int
    b: int
    verdict: Reward
    truncated: tuple[bool, bool] = (False, False)


class PairwiseJudge(GroupJudge):
    """Reward = the share of the group's other responses that one beats, ties half; see `Judge` for the arguments.

    Each pair is shown in both orders, since judges favour a position; a pair of which either order can't be read is
    left out. A response without a readable pair gets the failure of its first one.
    """

    name = "pairwise"

    async def _compare(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        pairs = pairs_to_compare(len(responses), self.config.max_pairs, self._random(conversation, responses))
        orders = [order for a, b in pairs for order in ((a, b), (b, a))]
        answers = await asyncio.gather(*(self._ask_which(conversation, responses, a, b) for a, b in orders))
        return [_reward(number, answers, counts) for number in range(len(responses))]

    async def _ask_which(self, conversation: Sequence[Message], responses: Sequence[str], a: int, b: int) -> _Answer:
        prompt = self._prompt()
        turns, instruction = prompt.conversation(conversation[:-1]), conversation[-1]["content"]
        try:
            completion, (cut_a, cut_b) = await self._ask_about(
                [responses[a], responses[b]],
                lambda first, second: prompt.messages(
                    conversation=turns, instruction=instruction, response_a=first, response_b=second
                ),
                CHOICE_SCHEMA,
            )
        except RequestFailed as error:
            return _Answer(a, b, failed_request(error))
        seen: dict[str, Any] = {
            "usage": completion.usage,
            "latency_s": completion.latency_s,
            "reply": completion.texts[0],
        }
        try:
            points = fmean(_POINTS_OF_A[one] for one in readable(completion.texts, choice))
            verdict = Reward(score=points, **seen)
        except UnreadableReply as error:
            verdict = Reward(**self._unreadable(error, completion), **seen)
        return _Answer(a, b, verdict, (cut_a, cut_b))


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
    unread: list[Reward] = []
    for forth, back in zip(mine[::2], mine[1::2], strict=True):
        failed = [answer.verdict for answer in (forth, back) if answer.verdict.score is None]
        unread += failed[:1]
        if forth.verdict.score is not None and back.verdict.score is not None:
            won = (forth.verdict.score + 1.0 - back.verdict.score) / 2
            points[forth.b if response == forth.a else forth.a] = won if response == forth.a else 1.0 - won
    shares = (split_usage(answer.verdict.usage, 2)[response == answer.b] for answer in mine)
    seen: dict[str, Any] = {
        "usage": sum(shares, Usage()),
        "latency_s": fmean(answer.verdict.latency_s for answer in mine) if mine else 0.0,
        "reply": "\n".join(answer.verdict.reply for answer in mine if answer.verdict.reply) or None,
        "truncated": any(answer.truncated[response == answer.b] for answer in mine),
    }
    left_out = f"{len(unread)} of {len(mine) // 2} pairs left out: {unread[0].detail}" if unread else None
    if unread and not points:
        return Reward(error=unread[0].error or FailureKind.UNREADABLE_REPLY, detail=left_out, **seen)
    return Reward(score=share_of_wins(response, counts, points), detail=left_out, **seen)
