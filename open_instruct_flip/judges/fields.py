"""Find what a judge says under a field's name: in JSON, in an object that is broken, or on a labelled line.

Every place where the field stands counts, and all must agree. What may be a quotation, a part of another object or
half of a number makes the reply say nothing. A later verdict takes an earlier one's place only where the words before
it say so: "Better:", "Final answer:", "No:".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import json_repair

from open_instruct_flip.thinking import closings, starts_thinking

MAX_TRIES = 64
"""How many braces without an object behind them are looked at; a sane reply has a handful."""
MAX_REPAIR_CHARS = 8192
"""Longer objects are not repaired: 512 tokens are fewer characters, and one takes about 20 us."""

_MARKUP = r"[ \t#>*_\-\d.)`]*+"
_WRAPPER = re.compile(r"\W*(?:(?:final[ _]?)?answer|result|output|json|verdict|evaluation|judge?ment)\W*", re.I)
_ASIDE = re.compile(r"reason|explanation|rationale|thought|thinking|analysis|justification|evidence|note|comment", re.I)
_NEXT_LABEL = re.compile(rf"\n{_MARKUP}(?:reasoning|explanation|rationale|justification|notes?)\b[ *_]*+[:：]", re.I)
_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}|[.…]*|null|none|(?:the )?(?:inferred )?(?:instruction|system prompt)\.?", re.I
)
_QUOTED_KEY = re.compile(r"[\"'“‘][\w \-]{1,64}[\"'”’]\s*:")
_BROKEN_OBJECT = re.compile(rf"\{{\s*(?:{_QUOTED_KEY.pattern}|\w{{1,64}}\s*:)")
# Behind a key, a comma or a bracket an object is a part of another one; behind a quotation mark it is quoted.
_NOT_ALONE = re.compile(r"(?:[\"'“”‘’]\s*:|[,\[\"'“‘])\s*\Z")
_TAKES_PLACE = re.compile(
    r"(?:^|[.!?}]\s)[\s#*_>\"]*(?:final|better|corrected|correction|revised|improved|no|instead)\b"
    r"[\w ]{0,30}[*_\"]*[:：][\s*_]*(?:```\w*\s*)?\Z",
    re.I | re.M,
)
_T = TypeVar("_T")


class ReplyField(NamedTuple):
    """A field by its keys in JSON and its labels in prose; the value is running text, or a word or a number."""

    key: re.Pattern[str]
    label: re.Pattern[str]
    is_text: bool


def reply_field(*spellings: str, is_text: bool = False) -> ReplyField:
    """A field by every known spelling of its name, in any case; a space may be `_`, `-` or nothing."""
    name = "(?:" + "|".join(spellings).replace(" ", r"[ _\-]?") + ")"
    return ReplyField(
        re.compile(rf"[\W\d_]*+{name}[\W\d_]*+", re.I),
        re.compile(rf"^{_MARKUP}{name}[ \t*_`]*+[:：][ \t*_]*+(?=[^\s{{`])", re.I | re.M),
        is_text,
    )


def read_field(reply: str, wanted: ReplyField, parse: Callable[[Any], _T]) -> _T:
    """What a reply surely says under a field's name, as `parse` reads it.

    Raises:
        ValueError: It says nothing, or not surely, or `parse` raises it.
    """
    text = _unwrapped(_without_thinking(reply))
    whole = _json(text)
    text = whole if isinstance(whole, str) else text
    statements = list(_statements(text, wanted))
    if not statements and (isinstance(whole, str) if wanted.is_text else "{" not in text):
        statements = [("", text)]  # nothing but the verdict
    said = [(before, parse(value)) for before, value in statements if not _is_blank(value)]
    if not said:
        raise ValueError("nothing is said")
    before, verdict = said[-1]
    if any(other != verdict for _, other in said) and not _TAKES_PLACE.search(before):
        raise ValueError("two things are said")
    return verdict


def as_text(value: Any) -> str:
    """A value as the text a judge meant: the parts of a list or an object one after another, without its reasoning."""
    if isinstance(value, dict):
        value = [part for key, part in value.items() if not _ASIDE.search(key)]
    if isinstance(value, list):
        return " ".join(filter(None, map(as_text, value)))
    return "" if value is None or isinstance(value, bool) else str(value).strip()


def _is_blank(value: Any) -> bool:
    """Whether a value says nothing: no text, or a prompt's placeholder."""
    text = as_text(value)
    return not text or (_PLACEHOLDER.fullmatch(text) is not None and not any(map(str.isdigit, text)))


def _without_thinking(reply: str) -> str:
    """A reply from where its thinking ends; nothing where that never ends.

    Some servers cut the opening tag off, so that a closing one alone ends thinking as well. In an object it is quoted.
    """
    opened, ends, start = starts_thinking(reply), closings(reply), 0
    if ends and (opened or _json(reply) is None):
        first = ends[0] if opened else 0
        between = reply[first : ends[-1]]
        start = first if between.count("{") > between.count("}") else ends[-1]
    return "" if starts_thinking(reply[start:]) else reply[start:]


def _unwrapped(text: str) -> str:
    """A text without a fence or quotation marks of Markdown around it, and with the brace that its object lacks."""
    text = re.sub(r"^>+ ?", "", text.strip(), flags=re.M)
    first_line, _, rest = text.partition("\n")
    if first_line.startswith("```") and rest.endswith("```"):
        return rest.removesuffix("```")
    return "{" + text if _QUOTED_KEY.match(text) else text


def _statements(text: str, wanted: ReplyField) -> Iterator[tuple[str, Any]]:
    """Every value of a field in a text, in order, with the words before it."""
    end = 0
    for start, stop, document in [*_documents(text), (len(text), len(text), None)]:
        for before, value in _labelled(text[end:start], wanted):
            if wanted.is_text and document is not None:
                raise ValueError("the labelled text may go on behind the object")
            yield before, value
        for value in _in_document(document, wanted):
            yield text[max(end, start - 200) : start], value
        end = stop


def _documents(text: str) -> Iterator[tuple[int, int, Any]]:
    """The list that a text starts with, or its objects up to one that is broken; each with its start and end."""
    start, failures = 0 if text.startswith("[") else text.find("{"), 0
    while start >= 0 and failures < MAX_TRIES:
        try:
            document, end = _DECODER.raw_decode(text, start)
        except ValueError:
            if _BROKEN_OBJECT.match(text, start):
                yield start, len(text), _repaired(text[start:])
                return  # who knows where it ends?
            failures, end = failures + 1, start + 1
        else:
            if _NOT_ALONE.search(text[max(0, start - 64) : start]) or text[end : end + 1] in ('"', "'"):
                raise ValueError("the object may be quoted, or a part of another one")
            yield start, end, document
        start = text.find("{", end)


def _repaired(text: str) -> Any:
    """A broken object, where the repair loses nothing that was said: `{"score": 8 or 9` must not become 8."""
    head, brace, rest = text.rpartition("}")
    text = head + brace if brace and '"' not in rest else text
    if len(text) > MAX_REPAIR_CHARS or text[-1].isdigit():
        raise ValueError("too long to repair, or cut off in a number")
    document = json_repair.loads(text)
    if _letters(json.dumps(document, ensure_ascii=False)) != _letters(text):
        raise ValueError("the repair lost something")
    return document


def _letters(text: str) -> str:
    return re.sub(r"\\u[0-9a-fA-F]{4}|\\.|[\W_]", "", text.replace("None", "null"))


def _in_document(document: Any, wanted: ReplyField) -> list[Any]:
    """The values under an object's own keys of that name, else under those of objects that only wrap it."""
    if isinstance(document, list):
        return [value for item in document for value in _in_document(item, wanted)]
    if not isinstance(document, dict):
        return []
    keys = [key for key in document if wanted.key.fullmatch(key)]
    if any(re.search(r"\d", key) for key in keys):
        raise ValueError("a numbered field is one of several")
    own = [document[key] for key in keys]
    if len(own) > 1 and any(map(_is_blank, own)):
        raise ValueError("one of two fields is empty")
    wrapped = [part for key, part in document.items() if _WRAPPER.fullmatch(key)]
    return own or [value for part in wrapped for value in _in_document(part, wanted)]


def _labelled(text: str, wanted: ReplyField) -> Iterator[tuple[str, str]]:
    """The values on a field's labelled lines, each with its label; running text goes on to the next label."""
    labels = list(wanted.label.finditer(text))
    for label, end in zip(labels, [*(label.start() for label in labels[1:]), len(text)], strict=False):
        value = text[label.end() : end]
        value = _NEXT_LABEL.split(value, 1)[0].strip() if wanted.is_text else value.partition("\n")[0]
        if re.search(r"\n[ \t]*\n", value):
            raise ValueError("who knows where the text ends?")
        yield label.group(), value.strip(" *_`\"'“”")


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_with_each_key_once)


def _json(text: str) -> Any:
    """The JSON that a text is, or None; a list of one is what it holds."""
    try:
        whole = _DECODER.decode(text)
    except ValueError:
        return None
    return whole[0] if isinstance(whole, list) and len(whole) == 1 else whole
