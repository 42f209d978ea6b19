"""Where a model's thinking ends and its answer begins: one rule, for policies and for judges.

Thinking restates the instruction, so that whoever judges it pays for nothing. A section counts as thinking when the
text starts with its opening tag, or when the chat template has written that tag at the end of the prompt already
(`opens_thinking`): then the text starts inside the section. A closing tag in any other text is a quotation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_NAMES = "think|thinking|thought|reasoning"
_OPENING = rf"<(?:{_NAMES})>|\[THINK\]|<\|channel\|>analysis(?:<\|message\|>)?"
_STARTS_THINKING = re.compile(rf"\s*(?:{_OPENING})", re.IGNORECASE)
_ENDS_IN_THINKING = re.compile(rf"(?:{_OPENING})\s*\Z", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|\[/THINK\]|<\|channel\|>final<\|message\|>", re.IGNORECASE)


def final_answer(response: str, *, opened: bool = False) -> str:
    """What a response says once its thinking is over; nothing where the thinking never ends.

    Args:
        response: What the policy generated, as text.
        opened: Whether the prompt's end had opened a thinking section: see `opens_thinking`.

    Example:
        >>> final_answer("<think>They ask about soil.</think>Soil is lost when it rains.")
        'Soil is lost when it rains.'
        >>> final_answer("Okay, the user asks about soil", opened=True)
        ''
        >>> final_answer("Close the section with </think>.")
        'Close the section with </think>.'
    """
    if not opened and not starts_thinking(response):
        return response
    ends = closings(response)
    return response[ends[-1] :].strip() if ends else ""


def final_answer_in_tokens(
    tokenizer: Any, token_ids: Sequence[int], text: str, *, opened: bool = False, turn_start: str = ""
) -> str:
    """`final_answer` of generated tokens, whose tags of thinking may be special tokens.

    Args:
        tokenizer: The policy's tokenizer, of transformers.
        token_ids: What the policy generated.
        text: What they are as text without special tokens, and the answer where they hold no thinking.
        opened: Whether the prompt's end had opened a thinking section.
        turn_start: What the chat template starts the assistant's turns with, where the tokens are those of several
            turns, the results of tools among them; `text` is then the last one's, whose answer is the answer.
    """
    tagged = tokenizer.decode(token_ids, skip_special_tokens=False)
    if turn_start:
        _, found, tagged = tagged.rpartition(turn_start)
        if not found:
            return final_answer(text, opened=opened)
    if not opened and not starts_thinking(tagged):
        return text
    answer = final_answer(tagged, opened=opened)
    for token in _special_tokens(tokenizer):
        answer = answer.replace(token, "")
    return answer.strip()


def _special_tokens(tokenizer: Any) -> set[str]:
    """All that a decoding without special tokens leaves out: those that have a role, and those that have none."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return {*tokenizer.all_special_tokens, *added}


def opens_thinking(generation_prompt: str) -> bool:
    """Whether a rendered generation prompt leaves the model inside a thinking section.

    Example:
        >>> opens_thinking("<|assistant|>\\n<think>\\n"), opens_thinking("<think>\\n\\n</think>\\n\\n")
        (True, False)
    """
    return _ENDS_IN_THINKING.search(generation_prompt) is not None


def starts_thinking(text: str) -> bool:
    """Whether a text starts with the opening tag of a thinking section."""
    return _STARTS_THINKING.match(text) is not None


def closings(text: str) -> list[int]:
    """Where each closing tag of a text ends, in order; the last one counts, as thinking may quote others."""
    return [tag.end() for tag in _CLOSING.finditer(text)]
