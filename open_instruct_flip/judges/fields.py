"""Find a named field in what a judge wrote: strict JSON where it is, repaired JSON or a labelled line where it is not.

A judge is asked for one JSON object. What comes back is that, or the same in a Markdown fence, after prose, with
quotes left open, cut off, as a list, twice, or inside thinking tags. Reasoning is never taken for the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import json_repair

MAX_REPAIR_CHARS = 8192
"""How much text behind a key is repaired: 512 tokens are fewer characters, and one takes about 20 us to repair."""
MAX_OBJECT_STARTS = 64
"""How many opening braces are tried as the start of an object; a sane reply has a handful."""
MAX_SANE_CHARS = 2048
"""Longer replies have their long runs of one character shortened before anything is looked for in them."""
MAX_DEPTH = 8
MAX_KEY_CHARS = 64

_THINKING_CLOSED = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<\|channel\|>final<\|message\|>", re.I
)
_THINKING_OPEN = re.compile(r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|<\|channel\|>analysis)", re.I)
# Runs longer than any text needs: patterns that start anew at each of their characters would take hours over them.
_LONG_RUN = re.compile(r"(\s)\s{63,}|([^\w\s])\2{63,}|(_)_{63,}")
_SIDE_KEY = re.compile(r"max|min|highest|lowest|possible|outof|second|other|previous|next|followup")
_CHIEF_KEY = re.compile(r"overall|final|total")
_REASONING = re.compile(r"reason|explanation|rationale|thought|thinking|analysis|justification|evidence|note")
_PLACEHOLDER = re.compile(r"\s*(?:<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}|[.…]*)\s*")
_QUOTE = r"[\"'`“”‘’]"
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class Field:
    """A field by the words its key may end with, in lower case, best first."""

    endings: tuple[str, ...]

    def matches(self, key: str) -> bool:
        """Whether a key names this field, however it is spelled: `INFERRED INSTRUCTION`, `inferredInstruction`, ..."""
        return self.fit(key) is not None

    def fit(self, key: str) -> tuple[int, int] | None:
        """How well a key names this field, the least best: its ending, then whether it says more than that.

        None where it names something else, such as the `max_score` beside a score.
        """
        return _fit(self.endings, key) if len(key) <= MAX_KEY_CHARS else None

    @cached_property
    def _words(self) -> str:
        return "|".join(self.endings)

    @cached_property
    def quoted_key(self) -> re.Pattern[str]:
        """A quoted key where a key may stand, so not in the middle of a sentence."""
        key = rf"[\w \-]{{0,30}}?(?:{self._words})[ _]?"
        return re.compile(rf"(?:^|[{{,\n\"'”}}\]])\s*(?P<key>{_QUOTE}{key}{_QUOTE}\s*[:=：])", re.I)

    @cached_property
    def bare_key(self) -> re.Pattern[str]:
        """A key without quotes, as in a JavaScript object."""
        return re.compile(rf"[{{,]\s*(?P<key>[\w]{{0,30}}?(?:{self._words})\s*:)", re.I)

    @cached_property
    def label(self) -> re.Pattern[str]:
        """A line that starts with the field's name and a colon, whatever Markdown stands around it."""
        name = rf"(?:[\w'’\-]+ ){{0,3}}?(?:{self._words})"
        return re.compile(rf"^[ \t#>*_\-\d.)\"'`]*+{name}[ *_\"'`]*[:：][ *_]*(?P<value>\S.*)", re.I | re.M)


@lru_cache(maxsize=1024)
def _fit(endings: tuple[str, ...], key: str) -> tuple[int, int] | None:
    name = re.sub(r"[\W_\d]+", "", key).lower()
    words = [re.sub(r"[\W_]+", "", ending) for ending in endings]
    ending = next((n for n, word in enumerate(words) if name.endswith(word)), None)
    if ending is None or _REASONING.search(name):
        return None
    more = name.removesuffix(words[ending])
    if more and _SIDE_KEY.match(more):
        return None
    return ending, 0 if not more else 1 if _CHIEF_KEY.match(more) else 2


def find_field(text: str, field: Field) -> Any:
    """The field's value as it stands in a reply, or None.

    Complete JSON objects come before cut-off ones, later ones before earlier ones: what a judge says last is its
    answer. A reply that is one JSON string, or a list of strings, is that text itself.
    """
    if len(text) > MAX_SANE_CHARS:
        text = _LONG_RUN.sub(_shortened, text)
    answer, thought_aloud = without_thinking(text)
    for document in reversed(list(_documents(answer))):
        value = _search(document, field)
        if value is not None:
            return value
    value = _search_repaired(answer, field)
    if value is None and not thought_aloud:
        value = _search_labels(answer, field)
    return value


def as_text(value: Any, depth: int = 0) -> str:
    """A value as the text a judge meant: the parts of a list or an object one after another, without its reasoning."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict) and depth < MAX_DEPTH:
        parts = [as_text(v, depth + 1) for k, v in value.items() if not _REASONING.search(str(k).lower())]
    elif isinstance(value, list) and depth < MAX_DEPTH:
        parts = [as_text(v, depth + 1) for v in value]
    else:
        parts = [str(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []
    return " ".join(part for part in parts if part)


def is_placeholder(value: Any) -> bool:
    """Whether a value is only what a prompt's example holds: nothing, dots, or a name in brackets of any kind."""
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value) is not None


def without_thinking(text: str) -> tuple[str, bool]:
    """What follows the last closed thinking section, and whether a section was opened but never closed.

    Some servers cut the opening tag off, so that only the closing one is left.
    """
    closed = list(_THINKING_CLOSED.finditer(text))
    if closed:
        return text[closed[-1].end() :], False
    opened = _THINKING_OPEN.match(text)
    return (text[opened.end() :], True) if opened else (text, False)


def _documents(text: str) -> Iterator[Any]:
    """Every complete JSON value of a text: the whole of it, or each object in it, in order."""
    try:
        whole = json.loads(_unfenced(text), strict=False)
    except (ValueError, RecursionError):
        yield from _objects(text)
    else:
        yield whole


def _unfenced(text: str) -> str:
    """What stands in a Markdown fence around the whole of a text, else the text."""
    stripped = text.strip()
    first_line, _, rest = stripped.partition("\n")
    return rest.removesuffix("```") if first_line.startswith("```") and rest.endswith("```") else text


def _shortened(run: re.Match[str]) -> str:
    return run.group()[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    start, tries = text.find("{"), 0
    while start >= 0 and tries < MAX_OBJECT_STARTS:
        tries += 1
        end = start + 1
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            pass
        else:
            yield value
        start = text.find("{", end)


def _search(document: Any, field: Field, depth: int = 0) -> Any:
    """The field in a JSON value: its own keys first, then what is nested in it, the last item of a list first."""
    if isinstance(document, dict) and depth < MAX_DEPTH:
        own = [
            (fit, v)
            for k, v in document.items()
            if (fit := field.fit(k)) is not None and v is not None and not is_placeholder(v)
        ]
        if own:
            best = min(fit for fit, _ in own)
            return next(v for fit, v in reversed(own) if fit == best)
        nested = [v for k, v in document.items() if isinstance(v, (dict, list)) and not _REASONING.search(k.lower())]
        found = [_search(v, field, depth + 1) for v in nested]
        return next((v for v in found if v is not None), None)
    if isinstance(document, list) and depth < MAX_DEPTH:
        found = [_search(item, field, depth + 1) for item in reversed(document)]
        return next((v for v in found if v is not None), None)
    if isinstance(document, str) and depth <= 1 and document.strip():
        # The reply is a JSON string or a list of strings; JSON may stand inside it once more.
        inner = find_field(document, field) if field.quoted_key.search(document) else None
        return document if inner is None else inner
    return None


def _search_repaired(text: str, field: Field) -> Any:
    """The field behind its last key, from JSON that is broken or cut off.

    Only the text from the key on is repaired: quotes left open in the reasoning before it can do no harm.
    """
    keys = list(field.quoted_key.finditer(text)) or list(field.bare_key.finditer(text))
    for key in reversed(keys[-4:]):
        tail = text[key.start("key") :][:MAX_REPAIR_CHARS]
        try:
            repaired = json_repair.loads("{" + tail)
        except (ValueError, RecursionError):
            continue
        if isinstance(repaired, list):
            repaired = next((item for item in repaired if isinstance(item, dict)), None)
        if not isinstance(repaired, dict):
            continue
        strangers = [k for k in repaired if not field.matches(k) and not _REASONING.search(k.lower())]
        raw = _raw_string(tail) if strangers else None
        value = raw if raw is not None else _search(repaired, field)
        if value is not None:
            return value
    return None


def _raw_string(tail: str) -> str | None:
    """A string value up to the object's end, where quotes inside it made the repair see keys that are none."""
    match = re.match(r"[^:=：]*[:=：]\s*\"(.*)\"\s*,?\s*\}+\s*(?:```\s*)?$", tail, re.DOTALL)
    return match.group(1) if match and not _REASONING.search(match.group(1).lower()) else None


def _search_labels(text: str, field: Field) -> str | None:
    """The text behind the last line that starts with the field's name, up to the next label."""
    matches = list(field.label.finditer(text))
    if not matches:
        return None
    value = text[matches[-1].start("value") :]
    following = re.search(r"\n[ \t#>*_\-\d.)]*(?:reasoning|explanation|rationale|notes?)\b[ *_]*:", value, re.I)
    value = value[: following.start()] if following else value
    return value.strip().strip("\"'`*“”").strip() or None
