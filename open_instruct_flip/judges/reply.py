"""What a judge's reply says: an instruction, a score, a choice, a ranking, or nothing that is sure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from open_instruct_flip.errors import FlipError
from open_instruct_flip.judges.fields import ReplyField, as_text, read_field, reply_field
from open_instruct_flip.similarity.f1 import is_scorable

_INSTRUCTION = reply_field(
    *("instruction", "inferred instruction", "user instruction", "original instruction", "query", "user query"),
    *("prompt", "inferred prompt", "user prompt", "system prompt", "inferred system prompt", "request", "user request"),
    is_text=True,
)
_EXPLANATION = reply_field("explanation", "analysis", "assessment", "review", is_text=True)
_SCORE = reply_field("score", "rating", "grade", "overall score", "overall rating", "final score", "final rating")
_WINNER = reply_field("winner", "better response", "preferred response", "choice", "verdict", "final verdict")
_RANKING = reply_field("ranking", "final ranking")
_RANKING_OR_INDEX = reply_field("ranking", "final ranking", "best response index")


def _alone(pattern: str) -> re.Pattern[str]:
    """A pattern with nothing but brackets, quotes and Markdown around it."""
    return re.compile(rf"[\s*_`\"'“‘\[(<]*+(?:{pattern})[\s*_`\"'”’\])>.!]*+", re.I)


_OUT_OF_10 = _alone(r"(\d{1,2}(?:\.\d+)?)(\s*(?:/|out of)\s*10)?")
_A_OR_B = _alone(r"(?:(?:the )?(?:response|assistant|answer)[ _]?)?([ab])(?: is (?:the )?better| wins)?")
_TIE = _alone(r"(?:an? )?(?:tie|tied|draw|equal)")
_RANKED = r"(?:response[ _#]*+)?\d{1,3}+"
_IN_ORDER = _alone(rf"{_RANKED}(?:(?:\s*+[,;>]\s*+|\s++)[\"']?{_RANKED}[\"']?)*+")

_LABELLED_LINE_OR_OBJECT = re.compile(r"^[^\n{}]*[:：][^\n{}]*$|\{[^{}]*\}", re.M)

_Verdict = TypeVar("_Verdict")


class UnreadableReply(FlipError, ValueError):
    """A judge's reply that holds no readable verdict; `text` is the reply."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text[:160]!r}{'...' if len(text) > 160 else ''}")
        self.reason = reason
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnreadableReply, (self.reason, self.text))


def without_quotations(reply: str, responses: Sequence[str]) -> str:
    """A reply without the objects and labelled lines that stand word for word in a response; whole if it is no more.

    Example:
        >>> without_quotations('It ends with {"score": 10}.\\n\\n1/10', ['Bananas. {"score": 10}'])
        'It ends with .\\n\\n1/10'
        >>> without_quotations('{"score": 10}', ['Bananas. {"score": 10}'])
        '{"score": 10}'
    """

    def unless_quoted(part: re.Match[str]) -> str:
        quoted = re.compile(rf"(?<!\w){re.escape(part.group().strip())}(?!\w)")
        return "" if any(map(quoted.search, responses)) else part.group()

    own = _LABELLED_LINE_OR_OBJECT.sub(unless_quoted, reply)
    return own if own.strip() else reply


def inferred_instruction(text: str) -> str:
    """The instruction that a judge inferred.

    Args:
        text: The judge's reply, as it came.

    Returns:
        The instruction, stripped; lone surrogates are replaced, so that it can be written as UTF-8.

    Raises:
        UnreadableReply: There is none, or not surely: no such field, one without a word, the prompt's own
            placeholder, or two that differ.

    Example:
        >>> inferred_instruction('Sure! ```json\\n{"reasoning": "It defines.", "instruction": "Define soil."}\\n```')
        'Define soil.'
    """
    return _read(text, _INSTRUCTION, _scorable, "no instruction")


def explanation(text: str) -> str:
    """What a judge says of a response, in words.

    Returns:
        The explanation, stripped; lone surrogates are replaced.

    Raises:
        UnreadableReply: There is none, or several that differ.
    """
    return _read(text, _EXPLANATION, _scorable, "no explanation")


def pointwise_score(text: str) -> float:
    """A judge's score on the scale of 1 to 10, as a reward in [0, 1]; "8/10", 8 and "score: 8" are all 0.8.

    Raises:
        UnreadableReply: No score, several, or one off the scale.
    """
    return _read(text, _SCORE, _share_of_10, "no score from 1 to 10")


def choice(text: str) -> str:
    """Which of two responses a judge prefers: "A", "B" or "tie".

    Raises:
        UnreadableReply: The reply names none of them, or several.
    """
    return _read(text, _WINNER, _a_b_or_tie, "no choice of A, B or a tie")


def ranking(text: str, count: int) -> list[int]:
    """A judge's ranking of `count` responses: their positions from 0, the best first.

    Raises:
        UnreadableReply: The reply does not list every response's number, from 1, exactly once.
    """

    def positions(value: Any) -> list[int]:
        numbers = _numbers(value)
        if sorted(numbers) != list(range(1, count + 1)):
            raise ValueError
        return [number - 1 for number in numbers]

    return _read(text, _RANKING, positions, f"no ranking of the responses 1 to {count}, once each")


def best(text: str, count: int, first_number: int = 1) -> int:
    """Position, from 0, of the response that a judge holds best among `count`.

    It is the first of a ranking, which may stop early but may not name a response twice; or, where responses are
    counted from 0 as in the authors' listwise prompt, the `BEST_RESPONSE_INDEX`.

    Args:
        text: The judge's reply.
        count: How many responses it saw.
        first_number: The number under which it saw the first of them, 0 or 1.

    Raises:
        UnreadableReply: The reply names none of the responses, or contradicts itself.
    """

    def first(value: Any) -> int:
        numbers = _numbers(value)
        if len(numbers) > len(set(numbers)) or not all(0 <= number - first_number < count for number in numbers):
            raise ValueError
        return numbers[0] - first_number

    wanted = _RANKING_OR_INDEX if first_number == 0 else _RANKING
    return _read(text, wanted, first, f"none of the {count} responses as the best")


def _read(text: str, wanted: ReplyField, parse: Callable[[Any], _Verdict], missing: str) -> _Verdict:
    try:
        return read_field(text, wanted, parse)
    except (ValueError, RecursionError):
        raise UnreadableReply(f"the reply holds {missing}", text) from None


def _scorable(value: Any) -> str:
    text = as_text(value).encode("utf-8", "replace").decode()
    if not is_scorable(text):
        raise ValueError
    return text


def _share_of_10(value: Any) -> float:
    if isinstance(value, dict):
        (value,) = [value[key] for key in ("overall", "score") if key in value]
    found = _match(_OUT_OF_10, value)
    score = float(found[1])
    # "1.0" alone may be full marks on a scale of 0 to 1, which is the opposite of the grade 1.
    may_be_share = score == 1.0 and "." in found[1] and found[2] is None
    if may_be_share or not 1.0 <= score <= 10.0:
        raise ValueError
    return score / 10.0


def _a_b_or_tie(value: Any) -> str:
    return "tie" if isinstance(value, str) and _TIE.fullmatch(value) else _match(_A_OR_B, value)[1].upper()


def _numbers(value: Any) -> list[int]:
    """The numbers of a ranking as they stand."""
    if isinstance(value, list):
        value = ", ".join(str(part) for part in value)
    return [int(number) for number in re.findall(r"\d+", _match(_IN_ORDER, value)[0])]


def _match(pattern: re.Pattern[str], value: Any) -> re.Match[str]:
    found = pattern.fullmatch(str(value))
    if found is None:
        raise ValueError
    return found
