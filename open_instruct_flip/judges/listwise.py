"""Listwise LLM judge, a baseline: the judge reads the instruction and all responses of a group and ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import failed_request, readable
from open_instruct_flip.judges.group import GroupJudge, share_of_wins, split_usage
from open_instruct_flip.judges.reply import UnreadableReply, best, ranking
from open_instruct_flip.rewards import Reward


class ListwiseJudge(GroupJudge):
    """Reward = 1 for the group's best response and 0 for the others, or by rank; see `Judge` for the arguments.

    The whole group is one request, its responses in a seeded random order. The verdict is one for all, so a reply
    that can't be read is a failure of every response.
    """

    name = "listwise"

    def _check_config(self) -> None:
        super()._check_config()
        if self._asks_for_index() and self.config.listwise_reward == "rank":
            raise UsageError(
                f"--listwise_reward rank needs a ranking, but the prompt in {self.config.prompt_dir} asks only for the "
                "best response's index; use --listwise_reward best"
            )

    async def _compare(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        if len(responses) == 1:  # all are the same: each is the best, and ties with the others
            return [Reward(score=1.0 if self.config.listwise_reward == "best" else 0.5)]
        order = self._random(conversation, responses).sample(range(len(responses)), len(responses))
        shown = await self._rank(conversation, [responses[n] for n in order], [counts[n] for n in order])
        return [reward for _, reward in sorted(zip(order, shown, strict=True), key=lambda pair: pair[0])]

    async def _rank(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        """Judge distinct responses in the order in which they are shown."""
        prompt = self._prompt()
        turns, instruction = prompt.conversation(conversation[:-1]), conversation[-1]["content"]
        try:
            completion, truncated = await self._ask_about(
                responses,
                lambda *texts: prompt.messages(
                    conversation=turns, instruction=instruction, responses=prompt.numbered(texts)
                ),
                self._schema(len(responses)),
            )
        except RequestFailed as error:
            failed = failed_request(error)
            return [replace(failed, usage=share) for share in split_usage(failed.usage, len(responses))]
        try:
            readings = readable(completion.texts, lambda reply: self._scores(reply, counts))
            verdicts: list[dict[str, Any]] = [{"score": fmean(scores)} for scores in zip(*readings, strict=True)]
        except UnreadableReply as error:
            verdicts = [self._unreadable(error, completion)] * len(responses)
        seen: dict[str, Any] = {"latency_s": completion.latency_s, "reply": completion.texts[0]}
        costs = split_usage(completion.usage, len(responses))
        return [
            Reward(**verdict, usage=cost, truncated=cut, **seen)
            for verdict, cost, cut in zip(verdicts, costs, truncated, strict=True)
        ]

    def _scores(self, reply: str, counts: Sequence[int]) -> list[float]:
        """What a reply gives each response, in the order shown."""
        shown = range(len(counts))
        if self.config.listwise_reward == "best":
            winner = best(reply, len(counts), self._prompt().first_number)
            return [float(n == winner) for n in shown]
        place = {n: rank for rank, n in enumerate(ranking(reply, len(counts)))}
        return [share_of_wins(n, counts, {o: float(place[n] < place[o]) for o in shown if o != n}) for n in shown]

    def _asks_for_index(self) -> bool:
        """Whether the prompt is of the authors' kind: responses counted from 0, only the best one's index wanted."""
        return self._prompt().first_number == 0

    def _schema(self, count: int) -> dict[str, Any]:
        reasoning = {"reasoning": {"type": "string"}}
        if self._asks_for_index():
            return {**reasoning, "best_response_index": {"type": "integer", "minimum": 0, "maximum": count - 1}}
        numbers = {"type": "integer", "minimum": 1, "maximum": count}
        # Grammars can't force numbers to differ; where only the first counts, no other can contradict it.
        length = 1 if self.config.listwise_reward == "best" else count
        return {**reasoning, "ranking": {"type": "array", "items": numbers, "minItems": length, "maxItems": length}}
