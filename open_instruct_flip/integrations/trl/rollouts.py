"""TRL's prompts and completions as conversations, responses without their thinking, and groups."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.thinking import final_answer, final_answer_in_tokens, opens_thinking

logger = logging.getLogger(__name__)

Prompt = str | list[Message]


@dataclass(frozen=True)
class Rollout:
    """A conversation and one response to it, its thinking removed."""

    conversation: list[Message]
    response: str


@dataclass(frozen=True)
class RolloutReader:
    """Reads what TRL hands to reward functions.

    TRL decodes completions without special tokens, which with some models takes the tags of their thinking away, and
    with a response template it parses the thinking out, unless it was never closed. So where the tokenizer is known,
    thinking is looked for in the tokens.

    Attributes:
        processing_class: The trainer's tokenizer or processor. Without it, whether the chat template opens a thinking
            section is not known: each response goes by its own tags, and a warning says so once.
        chat_template_kwargs: The trainer's `chat_template_kwargs`, which may decide on that.
    """

    processing_class: Any = None
    chat_template_kwargs: Mapping[str, Any] | None = None

    def read(self, prompt: Prompt, completion: Prompt, token_ids: Sequence[int] | None) -> Rollout:
        """The rollout of one completion, whose tokens are `token_ids`.

        Raises:
            UsageError: The completion does not end with text.
        """
        conversation: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        text = _text(completion)
        if not isinstance(completion, str) and completion[-1].get("tool_calls"):
            return Rollout(conversation, final_answer(text))  # its tokens hold the call, which is no answer
        opened = self._opens_thinking(prompt)
        if self.processing_class is None or token_ids is None:
            return Rollout(conversation, final_answer(text, opened=opened))
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        has_tools = not isinstance(completion, str) and len(completion) > 1
        start = self._turn_start(prompt) if has_tools else ""
        return Rollout(
            conversation, final_answer_in_tokens(tokenizer, token_ids, text, opened=opened, turn_start=start)
        )

    def _opens_thinking(self, prompt: Prompt) -> bool:
        if isinstance(prompt, str):
            return opens_thinking(prompt)  # TRL applies no template to text
        if self.processing_class is None:
            _warn_that_the_template_is_unknown()
            return False
        return opens_thinking(self._rendered(prompt, open_turn=True))

    def _turn_start(self, prompt: Prompt) -> str:
        """What the chat template starts an assistant's turn with."""
        opened, closed = (self._rendered(prompt, open_turn=open_turn) for open_turn in (True, False))
        return opened.removeprefix(closed)

    def _rendered(self, prompt: Prompt, *, open_turn: bool) -> str:
        options = self.chat_template_kwargs or {}
        text: str = self.processing_class.apply_chat_template(
            prompt, add_generation_prompt=open_turn, tokenize=False, **options
        )
        return text


def grouped(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Numbers of neighbouring rollouts that answer the same conversation, as TRL orders those of a group.

    A conversation that comes twice in a batch has two groups, each with its own mean.
    """
    conversations = [repr(rollout.conversation) for rollout in rollouts]
    return [list(group) for _, group in groupby(range(len(rollouts)), key=conversations.__getitem__)]


@cache
def _warn_that_the_template_is_unknown() -> None:
    logger.warning(
        "without the tokenizer, thinking that the chat template opens is judged as if it were the answer: "
        "pass processing_class=tokenizer to flip_reward"
    )


def _text(completion: Prompt) -> str:
    if isinstance(completion, str):
        return completion
    if not completion or not isinstance(completion[-1].get("content"), str):
        raise UsageError(f"a completion must end with a turn whose content is text, got {completion!r:.120}")
    return completion[-1]["content"]
