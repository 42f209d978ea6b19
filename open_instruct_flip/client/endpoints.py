"""Which endpoint gets a request: the least busy of those that answer. Each has a circuit breaker."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.client.urls import shown_url
from open_instruct_flip.errors import JudgeRefusedError
from open_instruct_flip.rewards import FailureKind

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 3
"""Failures in a row that open a breaker. Few: a server that fails at once is always the least busy one."""
FIRST_REST_S = 1.0
MAX_REST_S = 30.0


class Endpoint:
    """A URL, how busy it is, and its circuit breaker.

    The breaker opens after `FAILURES_TO_OPEN` failures in a row and at once on a refusal (401, 403, 404). An endpoint
    whose breaker is open rests, then gets one trial request, whose failure doubles the rest. Any success closes it.

    Attributes:
        url: Where requests go, or None where the provider chooses.
        in_flight: Requests that it has yet to answer.
        refuses: Whether its last answer was a refusal.
        doubts: Requests it rejected that another endpoint is being asked about.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.in_flight = 0
        self.refuses = False
        self.doubts = 0
        self.rest_s = 0.0
        self._failures = 0
        self._rests_until = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_healthy(self) -> bool:
        return not self.is_open and not self._rests

    @property
    def is_due_for_trial(self) -> bool:
        return self.is_open and not self._rests and not self._on_trial and not self.doubts

    @property
    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts a request while it is in flight; the first one after a rest is the trial."""
        trial = self.is_due_for_trial
        self._on_trial |= trial
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if trial:
                self._on_trial = False

    @contextmanager
    def doubted(self) -> Iterator[None]:
        """Comes after the others for as long as one of them is asked about a request that it rejected."""
        self.doubts += 1
        try:
            yield
        finally:
            self.doubts -= 1

    def note_success(self) -> None:
        """Take in that it answered as it should."""
        self.refuses = False
        self._failures, self.rest_s, self._rests_until = 0, 0.0, 0.0

    def note_failure(self, error: RequestFailed | JudgeRefusedError) -> None:
        """Take in a failure. One that no other attempt can mend says nothing of the endpoint."""
        self.refuses = isinstance(error, JudgeRefusedError)
        if isinstance(error, JudgeRefusedError):
            self._failures = max(self._failures + 1, FAILURES_TO_OPEN)
        elif error.kind is FailureKind.RATE_LIMITED:
            self._rest(error.retry_after_s or FIRST_REST_S)
        elif error.retryable:
            self._failures += 1
        else:
            return
        # What fails during the rest was sent before it.
        if self.is_open and not self._rests:
            self.rest_s = min(2 * self.rest_s, MAX_REST_S) or FIRST_REST_S
            self._rest(self.rest_s)

    def _rest(self, duration_s: float) -> None:
        self._rests_until = max(self._rests_until, time.monotonic() + min(duration_s, MAX_REST_S))


class Endpoints:
    """The endpoints of one judge model."""

    def __init__(self, urls: Sequence[str | None]) -> None:
        self._all = [Endpoint(url) for url in urls]

    @property
    def all_refuse(self) -> bool:
        """Whether the last answer of every endpoint was a refusal."""
        return all(endpoint.refuses for endpoint in self._all)

    def choose(self, tried: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for an attempt: one that is due for a trial, else the least busy of the healthy ones.

        There is always one: where none is healthy, the breakers only say which is the most promising.

        Args:
            tried: Endpoints that have failed this request; others come first, and no trial is made with it.
        """
        due = [endpoint for endpoint in self._all if endpoint.is_due_for_trial]
        if due and not tried:
            return due[0]
        return min(self._all, key=lambda e: (not e.is_healthy, e in tried, e.doubts > 0, e.rest_s, e.in_flight))

    def has_another(self, tried: Collection[Endpoint]) -> bool:
        """Whether a healthy endpoint has not been tried."""
        return any(endpoint.is_healthy and endpoint not in tried for endpoint in self._all)

    def note_success(self, endpoint: Endpoint) -> None:
        """Take in that an endpoint answered as it should."""
        if endpoint.is_open:
            logger.info("the judge at %s answers again", shown_url(str(endpoint.url)))
        endpoint.note_success()

    def note_failure(self, endpoint: Endpoint, error: RequestFailed | JudgeRefusedError) -> None:
        """Take in a failure of an endpoint, and warn when its breaker opens. An overflow shows that it answers."""
        if isinstance(error, RequestFailed) and error.kind is FailureKind.CONTEXT_OVERFLOW:
            self.note_success(endpoint)
            return
        was_open = endpoint.is_open
        endpoint.note_failure(error)
        if endpoint.is_open and not was_open and len(self._all) > 1:
            logger.warning("%s; the other endpoints are used, and this one when it answers again", error)
