"""A pair as token ids: the very prompt and reply that the served judge will see, the loss on the reply alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.client.chat_tokens import chat_tokens, common_length
from open_instruct_flip.client.config import NEVER_ASKED
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judges.config import MIN_RESPONSE_CHARS
from open_instruct_flip.judges.contract import Contract, ReplyForm
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.judges.reply import UnreadableReply
from open_instruct_flip.judges.shortening import shorten

IGNORED = -100
TEMPLATE = {"enable_thinking": False}
"""What every chat template is told, as judges are asked."""
NO_ROOM = "too_long"


@dataclass(frozen=True, slots=True)
class Lesson:
    """An example as token ids; the loss is on those from `start` on."""

    ids: list[int]
    start: int

    def columns(self) -> dict[str, list[int]]:
        """A row of TRL's dataset."""
        return {"input_ids": self.ids, "labels": [IGNORED] * self.start + self.ids[self.start :]}


class Prompts:
    """What the two judges that infer send for a pair, as text in a model's chat template.

    Args:
        tokenizer: The base model's; has a chat template.
        config: Of its options, those that a judge has as well.

    Raises:
        UsageError: The base has no chat template, or one that can't go on with an assistant's turn.
    """

    def __init__(self, tokenizer: Any, config: JudgeTrainingConfig) -> None:
        if not tokenizer.chat_template:
            raise UsageError(
                f"--base {config.base} has no chat template, without which no server can ask it; take its chat or "
                "instruct version"
            )
        target = {"flip_target": config.flip_target}
        self.tokenizer = tokenizer
        self._flip = FlipJudge.from_options({**target, "prompt_dir": config.prompt_dir}, NEVER_ASKED)
        self._likelihood = LikelihoodJudge.from_options(target, NEVER_ASKED)
        self._base = config.base
        for lesson in (self.inference, self.statement):
            lesson(Pair((), "Paris.", "Name a city."))  # what a template refuses is known before data is read

    def free(self, pair: Pair) -> str:
        """The FLIP judge's prompt, its reply left to the model."""
        return self._chat(self._asked(pair, "free"), add_generation_prompt=True)

    def opened(self, pair: Pair) -> str:
        """The FLIP judge's prompt under the contract `prefill`: with the reply begun up to the value."""
        return self._chat(self._asked(pair, "prefill"), continue_final_message=True)

    @property
    def form(self) -> ReplyForm:
        """The form of the FLIP judge's replies."""
        return self._flip.form()

    def inferred(self, reply: str, *, is_opened: bool = False) -> str | None:
        """What the FLIP judge reads in a reply, or in what goes on with its opening; None where it reads nothing."""
        try:
            return self._flip.parse(self.form.whole(reply, is_opened=is_opened))
        except UnreadableReply:
            return None

    def inference(self, pair: Pair) -> Lesson:
        """The FLIP judge's prompt as it opens the reply, and the whole reply that it should write."""
        *question, opening = self._asked(pair, "prefill")
        reply = self.form.written(self._flip.prompt.defuse(pair.instruction))
        begun = self._chat([*question, opening], continue_final_message=True)
        whole = self._answered(question, reply)
        if not whole.startswith(begun) or len(whole) == len(begun):
            raise UsageError(f"--base {self._base} has a chat template that changes or drops the assistant's last turn")
        head, ids = self._ids(begun), self._ids(whole)
        if ids[: len(head)] != head:
            # The server's tokens end with the opening, where these would go on in the midst of one.
            ids = head + self._ids(whole.removeprefix(begun))
        return Lesson(ids, common_length(self._ids(begun.removesuffix(opening["content"])), head))

    def statement(self, pair: Pair, *, ended: bool = True) -> Lesson:
        """The likelihood judge's prompt, and the instruction as its answer; with or without the end of the turn."""
        prompt = self._likelihood.prompt
        messages = prompt.messages(conversation=prompt.conversation(pair.context), response=pair.response)
        answer = prompt.defuse(pair.instruction)
        try:
            ids, start = chat_tokens(self.tokenizer, [*messages, {"role": "assistant", "content": answer}], TEMPLATE)
        except JudgeUnusableError as error:
            raise UsageError(f"--base {self._base}: {error}") from error
        return Lesson(self._ids(self._answered(messages, answer)) if ended else ids, start)

    def _asked(self, pair: Pair, contract: Contract) -> list[Message]:
        """What the FLIP judge sends about a pair, the begun turn included where it opens it."""
        messages = self._flip.build_messages(pair.context, pair.response)
        return list(self._flip.request(messages, self.form, contract).messages)

    def _answered(self, messages: Sequence[Message], reply: str) -> str:
        """A chat with its reply, up to the token that ends a turn."""
        return self._chat([*messages, {"role": "assistant", "content": reply}]).rstrip()

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _chat(self, messages: Sequence[Message], **how: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(list(messages), tokenize=False, **TEMPLATE, **how)
        except Exception as error:  # whatever a model's own Jinja template raises
            raise UsageError(f"the chat template of --base {self._base} refuses a judge's prompt: {error}") from error
        return text


def fitted(pair: Pair, prompts: Prompts, max_length: int, *, likelihood: bool) -> Pair | None:
    """The pair with its response shortened until every lesson on it fits, or None where none does.

    `likelihood` says whether the likelihood judge's prompt, which is the longer one, is among the lessons.
    """
    kinds = (prompts.inference, prompts.statement) if likelihood else (prompts.inference,)
    limit = len(pair.response)
    while True:
        short = Pair(pair.context, shorten(pair.response, limit), pair.instruction)
        if all(len(lesson(short).ids) <= max_length for lesson in kinds):
            return short
        limit //= 2
        if limit < MIN_RESPONSE_CHARS:
            return None


def lessons(pairs: Iterable[Pair], prompts: Prompts, likelihood_share: float, seed: int) -> list[Lesson]:
    """A lesson on each pair; this share of them as the likelihood judge asks, the others as FLIP's does."""
    rng = random.Random(f"lessons {seed}")
    return [prompts.statement(pair) if rng.random() < likelihood_share else prompts.inference(pair) for pair in pairs]
