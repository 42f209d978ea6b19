"""What the judges share that compare a group's responses with each other."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.asking import ReplyJudge
from open_instruct_flip.judges.base import shared_by_twins
from open_instruct_flip.rewards import FailureKind, Reward, Usage


class GroupJudge(ReplyJudge):
    """A judge that compares the responses of a group.

    Identical responses are shown once, share a verdict, and tie with each other. A single response has nothing
    to be compared with: it gets the failure `invalid_input`. The only one of a group that says anything beats the rest.
    """

    compares_group = True

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        if len(responses) > 1:
            return None
        detail = f"the {self.name} judge compares responses and got a group of one; give it two or more per prompt"
        return Reward(error=FailureKind.INVALID_INPUT, detail=detail)

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        if len(responses) == 1:
            return [Reward(score=1.0)]
        counts = Counter(responses)
        judged = await self.compare(conversation, list(counts), list(counts.values()))
        return shared_by_twins(responses, dict(zip(counts, judged, strict=True)))

    @abstractmethod
    async def compare(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        """Judge distinct responses, each of which stands in the group as often as its count says."""

    def random(self, conversation: Sequence[Message], count: int) -> random.Random:
        """Random numbers for `count` distinct responses to a conversation: the same in any process for the same seed.

        They don't depend on what the responses say: a place that a word more gave to a response would look like an
        effect of that word.
        """
        return random.Random(repr((self.config.seed, list(conversation), count)))


def share_of_wins(response: int, counts: Sequence[int], points: Mapping[int, float]) -> float:
    """The share of the group's other responses that one beats; what ties with it, its own twins too, counts half.

    Args:
        response: Number of the response among the distinct ones.
        counts: How often each distinct response stands in the group.
        points: 1.0, 0.5 or 0.0 against each other response that it was compared with.

    Example:
        >>> share_of_wins(0, [2, 1, 1], {1: 1.0, 2: 0.0})  # a twin, a win, a loss
        0.5
    """
    twins = counts[response] - 1
    won = twins / 2 + sum(counts[other] * point for other, point in points.items())
    return won / (twins + sum(counts[other] for other in points))


def split_usage(usage: Usage, parts: int) -> list[Usage]:
    """A shared cost in whole numbers whose sum is the cost; the first parts bear what does not divide.

    Example:
        >>> [u.prompt_tokens for u in split_usage(Usage(prompt_tokens=10), 4)]
        [3, 3, 2, 2]
    """

    def share(total: int, part: int) -> int:
        return total // parts + (part < total % parts)

    return [
        Usage(share(usage.prompt_tokens, n), share(usage.completion_tokens, n), share(usage.requests, n))
        for n in range(parts)
    ]
