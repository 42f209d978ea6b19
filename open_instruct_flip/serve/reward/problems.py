"""What a request gets in place of a reward: a status, its kind, a reason, and the place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from open_instruct_flip.errors import FlipError, JudgeUnusableError, UsageError
from open_instruct_flip.failures.outage import JudgeOutageError
from open_instruct_flip.failures.rates import asked_errors
from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES, Reward

RETRY_AFTER_S = 5
BUSY = (429, 503)


class Json(Response):
    """JSON in ASCII: a judge may write half a surrogate pair, which UTF-8 can't hold."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no reward.

    Attributes:
        status: 401, 404, 413, 422 or 429 for the request's fault, 502 for the judge's replies, 503 for a judge that is
            down, 504 for the deadline.
        kind: The same as a word.
        message: One line: what was seen, and what to do.
        place: Where in the body, such as `groups[3].responses`; nothing where it is the whole request.
    """

    status: int
    kind: str
    message: str
    place: str = ""

    def response(self, **more: Any) -> Json:
        """The HTTP answer; `more` stands beside the error in its body."""
        headers = {"Retry-After": str(RETRY_AFTER_S)} if self.status in BUSY else None
        error = {"type": self.kind, "message": self.message, "place": self.place}
        return Json({"error": error, **more}, self.status, headers)


class RequestError(Exception):
    """Ends a request with its problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def raised(error: FlipError, place: str) -> Problem:
    """The problem of a group whose judging raised."""
    if isinstance(error, UsageError):
        return Problem(422, "invalid_input", str(error), place)
    if isinstance(error, (JudgeOutageError, JudgeUnusableError)):
        return Problem(503, "judge_unavailable", str(error), place)
    return Problem(502, "judge_failed", str(error), place)


def failed(rewards: Sequence[Reward], place: str) -> Problem | None:
    """The problem of a group of which no response that says anything has a reward; None where one has."""
    errors = asked_errors(rewards)
    if None in errors or not errors:
        return None
    for kinds, status in ((REQUEST_FAILURES, 503), (REPLY_FAILURES, 502), (errors, 422)):
        reward = next((reward for reward in rewards if reward.error in kinds), None)
        if reward is not None:
            return Problem(status, str(reward.error), reward.detail or "the judge gave no reason", place)
    return None
