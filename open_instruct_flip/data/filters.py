"""What makes a prompt unfit for training: one small test per reason, each on one prompt alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.prompts import ChatPrompt
from open_instruct_flip.data.subjects import has_code, has_math

ENGLISH_LABELS = frozenset({"english", "en", "eng"})

# Frequent words, and verbs that prompts begin with, which the larger European languages do not have as well.
_ENGLISH_WORDS = frozenset(
    """
    about after and anyone are because been before being between but can could create describe did does each every
    explain few first from generate get having help him his how i'd i'll i'm i've if into it it's its just keep like
    make many more my need only other our out please rewrite should some someone something suggest summarize tell than
    that the their them then there these they things think this those through up using very way were what when where
    which while who why with without would write you your
    """.split()  # noqa: SIM905 - a list literal of single words is no easier to read
)
_MIN_WORDS_FOR_LANGUAGE = 5
MAX_CHARS_PER_WORD = 20

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_ARTICLES = frozenset({"a", "an", "the"})


class Filter(NamedTuple):
    """A reason to leave a prompt out: its name in the manifest, and the test that is true for such a prompt."""

    name: str
    drops: Callable[[ChatPrompt], bool]


def prompt_filters(config: BuildConfig, is_contaminated: Callable[[str], bool] | None = None) -> list[Filter]:
    """The filters of a build, cheap ones first. A prompt is counted for the first one that drops it."""
    filters = [
        Filter("not_english", lambda prompt: not is_english(prompt)),
        Filter("toxic", lambda prompt: prompt.toxic),
        Filter("redacted", lambda prompt: prompt.redacted),
        Filter("too_few_words", lambda prompt: len(prompt.instruction.split()) < config.min_words),
        Filter("too_many_words", lambda prompt: is_longer(prompt.instruction, config.max_words)),
        Filter("long_context", lambda prompt: is_longer(context(prompt), config.max_context_words)),
        Filter("weak_signal", lambda prompt: distinct_words(prompt.instruction) < config.min_distinct_words),
    ]
    if not config.keep_math_code:
        filters.append(Filter("code", lambda prompt: has_code(prompt.instruction)))
        filters.append(Filter("math", lambda prompt: has_math(prompt.instruction)))
    if is_contaminated:
        filters.append(Filter("contaminated", lambda prompt: any(map(is_contaminated, user_turns(prompt)))))
    return filters


def user_turns(prompt: ChatPrompt) -> list[str]:
    """What the user says, the instruction last."""
    return [message["content"] for message in prompt.messages if message["role"] == "user"]


def words(text: str) -> list[str]:
    """Lower-case words without punctuation.

    Example:
        >>> words("Don't panic: it's 5 o'clock!")
        ["don't", 'panic', "it's", '5', "o'clock"]
    """
    return _WORD.findall(text.lower().replace("’", "'"))


def is_english(prompt: ChatPrompt) -> bool:
    """By the source's own labels where it has some, otherwise by `looks_english` of the instruction."""
    if prompt.languages:
        return all(re.split("[-_]", label.lower())[0] in ENGLISH_LABELS for label in prompt.languages)
    return looks_english(prompt.instruction)


def looks_english(text: str) -> bool:
    """A guess for data without language labels: nearly all letters are ASCII, and English function words occur.

    It errs on the side of keeping: texts of under five words pass on their letters alone.

    Example:
        >>> looks_english("What should I cook for six people?"), looks_english("Was soll ich heute Abend kochen?")
        (True, False)
    """
    letters = [character for character in text if character.isalpha()]
    if sum(map(str.isascii, letters)) < 0.9 * len(letters):
        return False
    found = words(text)
    known = sum(word in _ENGLISH_WORDS for word in found)
    return len(found) < _MIN_WORDS_FOR_LANGUAGE or known >= max(1, min(len(found), 60) // 15)


def context(prompt: ChatPrompt) -> str:
    """All turns before the instruction."""
    return "\n".join(message["content"] for message in prompt.messages[:-1])


def is_longer(text: str, max_words: int) -> bool:
    """Whether a text has more words, or more characters than so many words have: base64 is one long word."""
    return len(text) > max_words * MAX_CHARS_PER_WORD or len(text.split()) > max_words


def distinct_words(text: str) -> int:
    """How many different words count for token F1; articles do not.

    Example:
        >>> distinct_words("The cat, the dog and a cat")
        3
    """
    return len(set(words(text)) - _ARTICLES)


def prefix(text: str, num_words: int) -> str:
    """The first words, by which prompts made from one template are recognised."""
    return " ".join(words(text)[:num_words])
