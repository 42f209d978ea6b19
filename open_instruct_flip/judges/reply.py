"""What a judge's reply says: an instruction, a score, a choice, a ranking, or nothing that can be read."""

from __future__ import annotations

import re
from typing import Any

from open_instruct_flip.errors import FlipError
from open_instruct_flip.judges.fields import Field, as_text, find_field, is_placeholder, without_thinking
from open_instruct_flip.similarity.f1 import is_scorable

_INSTRUCTION = Field(("instruction", "instructions", "prompt", "query", "question", "request", "task"))
_SCORE = Field(("score", "rating", "grade", "points", "mark"))
_WINNER = Field(("winner", "betterresponse", "better_response", "better response", "choice", "verdict", "preferred"))
_RANKING = Field(("ranking", "ranks", "rank", "order"))
_INDEX = Field(("index",))

_FRACTION = re.compile(r"(-?\d+(?:[.,]\d+)?)\s*(?:/|out of)\s*(\d+(?:\.\d+)?)", re.I)
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
_SCORE_IN_PROSE = re.compile(
    r"\b(?:score|rating|grade)\b[\s*_\"':=\[(]*+(?:is|of)?[\s*_\"':=\[(]*+"
    r"(-?\d+(?:[.,]\d+)?(?:\s*(?:/|out of)\s*\d+)?)",
    re.I,
)
_BARE_RANKING = re.compile(r"[\d\s,;>\[\]]+")
_WORST_SCORE, _BEST_SCORE = 1.0, 10.0


class UnreadableReply(FlipError, ValueError):
    """A judge's reply that holds no readable verdict; `text` is the reply."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text[:160]!r}{'...' if len(text) > 160 else ''}")
        self.reason = reason
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnreadableReply, (self.reason, self.text))


def inferred_instruction(text: str) -> str:
    """The instruction that a judge inferred.

    Args:
        text: The judge's reply, as it came.

    Returns:
        The instruction, stripped; lone surrogates are replaced, so that it can be written as UTF-8.

    Raises:
        UnreadableReply: There is none: no instruction field, a field without a word, or the prompt's own placeholder.

    Example:
        >>> inferred_instruction('Sure! ```json\\n{"reasoning": "It defines.", "instruction": "Define soil."}\\n```')
        'Define soil.'
    """
    value = find_field(text, _INSTRUCTION)
    if value is None:
        raise UnreadableReply("the reply holds no instruction", text)
    instruction = as_text(value).encode("utf-8", "replace").decode()
    if not is_scorable(instruction) or is_placeholder(instruction):
        raise UnreadableReply("the reply's instruction is empty or the prompt's placeholder", text)
    return instruction


def pointwise_score(text: str) -> float:
    """A judge's score on the scale of 1 to 10, as a reward in [0, 1]; "8/10", 8 and "score: 8" are all 0.8.

    Raises:
        UnreadableReply: No number, several, or one off the scale.
    """
    value = find_field(text, _SCORE)
    if value is None:
        answer, thought_aloud = without_thinking(text)
        spoken = [] if thought_aloud else _SCORE_IN_PROSE.findall(answer)
        value = " ".join(spoken) if spoken else _bare(answer)
    score = _on_scale(value)
    if score is None:
        raise UnreadableReply("the reply holds no score from 1 to 10", text)
    return score


def choice(text: str) -> str:
    """Which of two responses a judge prefers: "A", "B" or "tie".

    Raises:
        UnreadableReply: The reply names neither.
    """
    verdict = find_field(text, _WINNER)
    if verdict is None:
        bracketed = re.findall(r"\[\[\s*(\w+)\s*\]\]", without_thinking(text)[0])
        verdict = bracketed[-1] if bracketed else _bare(without_thinking(text)[0])
    words = re.sub(r"\b(?:response|assistant|answer|is|better|wins)\b|[\W_]+", " ", as_text(verdict).lower()).split()
    match words:
        case ["a"] | ["b"]:
            return words[0].upper()
        case ["tie" | "tied" | "equal" | "both" | "neither" | "draw" | "none"] | ["a", "tie" | "draw"]:
            return "tie"
    raise UnreadableReply("the reply chooses neither A, B nor a tie", text)


def ranking(text: str, count: int) -> list[int]:
    """A judge's ranking of `count` responses: their positions from 0, the best first.

    Raises:
        UnreadableReply: The reply does not list every response's number, from 1, exactly once.
    """
    numbers = _ranked(text)
    if sorted(numbers) != list(range(1, count + 1)):
        raise UnreadableReply(f"the reply does not rank the responses 1 to {count} once each", text)
    return [number - 1 for number in numbers]


def best(text: str, count: int, first_number: int = 1) -> int:
    """Position, from 0, of the response that a judge holds best among `count`.

    It is the first of a ranking, which may stop early but may not name a response twice; or a
    `BEST_RESPONSE_INDEX`, which counts from 0, as in the authors' listwise prompt.

    Args:
        text: The judge's reply.
        count: How many responses it saw.
        first_number: The number under which it saw the first of them, 0 or 1.

    Raises:
        UnreadableReply: The reply names none of the responses, or contradicts itself.
    """
    numbers = _ranked(text)
    if numbers and len(numbers) == len(set(numbers)) and set(numbers) <= set(range(first_number, first_number + count)):
        return numbers[0] - first_number
    indices = set(_integers(as_text(find_field(text, _INDEX)))) if not numbers else set()
    if len(indices) == 1 and indices <= set(range(count)):
        return indices.pop()
    raise UnreadableReply(f"the reply names none of the {count} responses as the best", text)


def _ranked(text: str) -> list[int]:
    """The numbers of a ranking as they stand, or nothing."""
    value = find_field(text, _RANKING)
    if value is None:
        answer = without_thinking(text)[0]
        value = answer if _BARE_RANKING.fullmatch(answer) else ""
    if isinstance(value, dict):
        value = _order_of_places(value)
    return _integers(as_text(value))


def _integers(text: str) -> list[int]:
    """Every integer of a text; one of many digits, which names no response, as -1."""
    return [int(digits) if len(digits) < 10 else -1 for digits in re.findall(r"(?<!\d)-?\d+", text)]


def _order_of_places(places: dict[str, Any]) -> list[str]:
    """The responses of `{"response_1": 2, "response_2": 1}` by their places; nothing where keys may be the places."""
    if not all(re.search(r"[a-z]", key, re.I) and isinstance(place, int) for key, place in places.items()):
        return []
    if any(re.search(r"rank|place|position|\d(?:st|nd|rd|th)", key, re.I) for key in places):
        return []
    return sorted(places, key=lambda key: places[key]) if len(set(places.values())) == len(places) else []


def _bare(answer: str) -> str:
    """An answer that is nothing but its verdict; in a longer text a number or a letter can mean anything."""
    bare = answer.strip()
    return bare if len(bare) <= len("Response A is better.") and "{" not in bare else ""


def _on_scale(value: Any) -> float | None:
    if isinstance(value, dict):
        return _on_scale(next((v for k, v in value.items() if _SCORE.matches(k) or k.lower() == "overall"), None))
    text = str(value) if not isinstance(value, bool) else ""
    shares = {_decimal(score) / float(top) for score, top in _FRACTION.findall(text) if float(top)}
    shares |= {_decimal(number) / _BEST_SCORE for number in _NUMBER.findall(_FRACTION.sub(" ", text))}
    score = shares.pop() if len(shares) == 1 else 0.0
    return score if _WORST_SCORE / _BEST_SCORE <= score <= 1.0 else None


def _decimal(number: str) -> float:
    return float(number.replace(",", "."))
