"""Listwise LLM judge, a baseline: the judge reads the instruction and all responses of a group and ranks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, get_args

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.asking import Question
from open_instruct_flip.judges.config import ReplyConfig
from open_instruct_flip.judges.contract import ReplyForm
from open_instruct_flip.judges.group import GroupJudge, share_of_wins, split_usage
from open_instruct_flip.judges.prompt import PromptFiles
from open_instruct_flip.judges.reply import best, ranking
from open_instruct_flip.rewards import Reward

ListwiseReward = Literal["best", "rank"]
FILES = PromptFiles("listwise", frozenset({"instruction", "responses"}), "llmjudge_listwise_ranking")


@dataclass(frozen=True)
class ListwiseConfig(ReplyConfig):
    """Options of the listwise judge."""

    listwise_reward: ListwiseReward = field(
        default="best",
        metadata={
            "help": "Listwise reward: 1 for the best response and 0 else, or the share of the group ranked below"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listwise_reward not in get_args(ListwiseReward):
            raise UsageError(f"--listwise_reward is best or rank, got {self.listwise_reward!r}")


class ListwiseJudge(GroupJudge):
    """Reward = 1 for the group's best response and 0 for the others, or by rank; see `Judge` for the arguments.

    The whole group is one request, its responses in a seeded random order. The verdict is one for all, so a reply
    that can't be read is a failure of every response.
    """

    name = "listwise"
    config_class = ListwiseConfig
    config: ListwiseConfig

    def prompt_files(self) -> PromptFiles:
        return FILES

    def check(self) -> None:
        super().check()
        if self._asks_for_index() and self.config.listwise_reward == "rank":
            raise UsageError(
                f"--listwise_reward rank needs a ranking, but the prompt in {self.config.prompt_dir} asks only for the "
                "best response's index; use --listwise_reward best"
            )

    async def compare(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        if len(responses) == 1:  # all are the same: each is the best, and ties with the others
            return [Reward(score=1.0 if self.config.listwise_reward == "best" else 0.5)]
        count = len(responses)
        order = self.random(conversation, count).sample(range(count), count)
        shown = await self._rank(conversation, [responses[n] for n in order], [counts[n] for n in order])
        return [reward for _, reward in sorted(zip(order, shown, strict=True), key=lambda pair: pair[0])]

    async def _rank(
        self, conversation: Sequence[Message], responses: Sequence[str], counts: Sequence[int]
    ) -> list[Reward]:
        """Judge distinct responses in the order in which they are shown."""
        asked = await self.ask(self.question(conversation, responses))
        costs = split_usage(asked.usage, len(responses))
        readings = [self._scores(ranked, counts) for ranked in asked.readings]
        means = [fmean(scores) for scores in zip(*readings, strict=True)] or [0.0] * len(responses)
        return [replace(asked.reward(n, score=means[n]), usage=cost) for n, cost in enumerate(costs)]

    def question(self, conversation: Sequence[Message], responses: Sequence[str]) -> Question[list[int]]:
        count = len(responses)
        return Question(
            responses,
            lambda *texts: self.build_messages(conversation, texts),
            lambda reply: self.parse(reply, count),
            self.form(count),
        )

    def parse(self, reply: str, count: int) -> list[int]:
        """The numbers of the responses as shown, from 0, the best first; only the best where no more counts."""
        if self.config.listwise_reward == "best":
            return [best(reply, count, self.prompt.first_number)]
        return ranking(reply, count)

    def build_messages(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Message]:
        """The chat that asks for the best of a group's responses, or for their ranking."""
        *turns, last = conversation
        prompt = self.prompt
        return prompt.messages(
            conversation=prompt.conversation(turns),
            instruction=last["content"],
            responses=prompt.numbered(responses),
            answer=self.form(len(responses)).shown,
        )

    def _scores(self, ranked: Sequence[int], counts: Sequence[int]) -> list[float]:
        """What a ranking gives each response, in the order shown."""
        shown = range(len(counts))
        if self.config.listwise_reward == "best":
            return [float(n == ranked[0]) for n in shown]
        place = {n: rank for rank, n in enumerate(ranked)}
        return [share_of_wins(n, counts, {o: float(place[n] < place[o]) for o in shown if o != n}) for n in shown]

    def _asks_for_index(self) -> bool:
        """Whether the prompt is of the authors' kind: responses counted from 0, only the best one's index wanted."""
        return self.prompt.first_number == 0

    def form(self, count: int) -> ReplyForm:
        """The JSON object that a reply about so many responses is."""
        if self._asks_for_index():
            schema = {"best_response_index": {"type": "integer", "minimum": 0, "maximum": count - 1}}
            shown, opening = '{"best_response_index": ...}', '{"best_response_index": '
            stop = ("}", ",", "\n")
            return self.as_asked(ReplyForm(schema, shown, opening, stop, "}", pattern=_one_of(range(count))))
        numbers = {"type": "integer", "minimum": 1, "maximum": count}
        # Grammars can't force numbers to differ; where only the first counts, no other can contradict it.
        length = 1 if self.config.listwise_reward == "best" else count
        ranking = {"type": "array", "items": numbers, "minItems": length, "maxItems": length}
        shown = '{"ranking": [<best>, ..., <worst>]}'
        pattern = ", ".join([_one_of(range(1, count + 1))] * length)
        return self.as_asked(ReplyForm({"ranking": ranking}, shown, '{"ranking": [', ("]",), "]}", pattern=pattern))


def _one_of(numbers: Iterable[int]) -> str:
    return f"({'|'.join(map(str, numbers))})"
