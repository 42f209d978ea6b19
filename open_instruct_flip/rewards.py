"""What a judge returns: a reward, what it cost, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class FailureKind(StrEnum):
    """Why a response has no reward. None of these says anything about the response's quality."""

    UNREADABLE_REPLY = "unreadable_reply"
    """The judge answered, but no instruction, score or choice could be found in its text."""
    EMPTY_REPLY = "empty_reply"
    """The judge's answer held no text at all."""
    TIMEOUT = "timeout"
    """A request took longer than the time a request may take."""
    UNREACHABLE = "unreachable"
    """No connection to the judge, or the connection broke."""
    RATE_LIMITED = "rate_limited"
    """The server refused the request for its rate (429)."""
    SERVER_ERROR = "server_error"
    """The server failed (5xx, a redirect, 405, ...), or answered with something that is no chat completion."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The prompt did not fit the judge's context, even with the response's middle cut out."""
    REJECTED = "rejected"
    """The server refused this one request (400, 413, 422) for another reason, and so did another endpoint, if any."""
    REFUSED = "refused"
    """The server refused the key, the model or the URL (401, 403, 404), after it had taken them."""
    UNSCORABLE_INSTRUCTION = "unscorable_instruction"
    """The true instruction holds no word to compare with, so that no F1 is defined."""
    INVALID_INPUT = "invalid_input"
    """The row could not be judged: it lacks an instruction or a response."""


REQUEST_FAILURES = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.UNREACHABLE,
        FailureKind.RATE_LIMITED,
        FailureKind.SERVER_ERROR,
        FailureKind.REJECTED,
        FailureKind.REFUSED,
    }
)
"""Failures of the call: never the policy's doing."""
REPLY_FAILURES = frozenset({FailureKind.UNREADABLE_REPLY, FailureKind.EMPTY_REPLY, FailureKind.CONTEXT_OVERFLOW})
"""Failures of the reply, which a response may have brought about. What is in neither set is a fault of the input."""


def precedence(kind: FailureKind) -> int:
    """Which of several failures of one response decides what becomes of it: the one where this is lowest.

    An unreachable judge is waited for, whatever its replies before were like; a failed call says nothing of the
    response, which a reply that can't be read may.
    """
    if kind is FailureKind.UNREACHABLE:
        return 0
    return 1 if kind in REQUEST_FAILURES else 2


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and requests that one reward took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.requests + other.requests,
        )

    def cost(self, prices: tuple[float, float]) -> float:
        """What the tokens cost at these prices of a million prompt and completion tokens."""
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6


class ReadToken(NamedTuple):
    """A token of a text that a judge has read, and not written.

    Attributes:
        text: Its piece of the text.
        logprob: Its natural log-probability given all before it.
        prior: The same where what is judged was not shown; None where the verdict does not depend on that.
    """

    text: str
    logprob: float
    prior: float | None


@dataclass(frozen=True, slots=True)
class Reward:
    """A judge's verdict on one response.

    Attributes:
        score: The reward in [0, 1], or None when the judge failed. Never 0.0 for a failure.
        inferred_instruction: FLIP's inference, as compared with the instruction; None for other judges.
        precision: Share of the inferred instruction's tokens found in the true one, in [0, 1].
        recall: Share of the true instruction's tokens found in the inferred one, in [0, 1].
        error: Why `score` is None; None when there is a score.
        detail: One line on the failure: what was seen, where, and what to do.
        usage: Tokens and requests spent, failed attempts included where the server reported them.
        latency_s: Seconds from sending the request to its answer, without waiting for a free slot.
        reply: The judge's text as it came, for inspection.
        tokens: What the verdict of a judge that only reads is made of; None for other judges, and where the server does
            not show the texts of tokens.
        truncated: Whether the response's middle was cut to fit the judge's context.
        duplicate: Whether this verdict was taken over from an identical response of the same group.
        empty: Whether the response says nothing, so that no judge was asked about it.
        copy_rate: Share of the instruction's runs of 5 words that the response repeats, in [0, 1], whether or not the
            judge did anything about it (`copy_guard`); None where nothing was judged.
        overlap: Token F1 of the response with the instruction, in [0, 1]; None where nothing was judged. A policy that
            writes its instruction's words in another order shows here, and not by its copy rate.
    """

    score: float | None = None
    inferred_instruction: str | None = None
    precision: float | None = None
    recall: float | None = None
    error: FailureKind | None = None
    detail: str | None = None
    usage: Usage = Usage()
    latency_s: float = 0.0
    reply: str | None = None
    tokens: Sequence[ReadToken] | None = None
    truncated: bool = False
    duplicate: bool = False
    empty: bool = False
    copy_rate: float | None = None
    overlap: float | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.error is None):
            raise ValueError(f"a reward has either a score or an error, got {self.score=} and {self.error=}")
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a reward's score lies in [0, 1], got {self.score!r}")

    def as_row(self) -> dict[str, Any]:
        """The fields that `flip score` writes for a response, ready for JSON."""
        return {
            "reward": self.score,
            "inferred_instruction": self.inferred_instruction,
            "precision": self.precision,
            "recall": self.recall,
            "error": None if self.error is None else self.error.value,
            "detail": self.detail,
            "truncated": self.truncated,
            "copy_rate": rounded(self.copy_rate),
            "overlap": rounded(self.overlap),
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "requests": self.usage.requests,
            },
            "latency_s": round(self.latency_s, 4),
        }


def rounded(share: float | None) -> float | None:
    """A share as files hold it, to four digits."""
    return None if share is None else round(share, 4)
