"""Which endpoint gets a request: one of the least busy of those that answer. Each has a circuit breaker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from open_instruct_flip.client.chance import CHANCE
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.client.urls import shown_url
from open_instruct_flip.errors import JudgeRefusedError
from open_instruct_flip.rewards import FailureKind

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 3
"""Failures in a row that open a breaker. Few: a server that fails at once is always the least busy one."""
SAMPLED = 16
"""Endpoints among which the least busy one is sought: to look at a thousand would cost as much as the request."""
FIRST_REST_S = 1.0
MAX_REST_S = 30.0


class Endpoint:
    """A URL, how busy it is, and its circuit breaker.

    The breaker opens after `FAILURES_TO_OPEN` failures in a row, and at once on a refusal (401, 403, 404) or a timeout
    with no answer to anything since the request was sent. An endpoint whose breaker is open rests, then gets one trial
    request, whose failure doubles the rest. Any success closes it. Where another endpoint is healthy, the trial is a
    copy of a request that goes there.

    Attributes:
        url: Where requests go, or None where the provider chooses.
        in_flight: Requests that it has yet to answer.
        refuses: Whether its last answer was a refusal.
        doubts: Requests it rejected that another endpoint is being asked about.
        answered_s: When it last answered as it should, or was made.
    """

    def __init__(self, url: str | None, clock: Callable[[], float]) -> None:
        self.url = url
        self._clock = clock
        self.in_flight = 0
        self.refuses = False
        self.doubts = 0
        self.answered_s = clock()
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
        return self.is_open and not self._rests and not self._on_trial

    @property
    def _rests(self) -> bool:
        return self._clock() < self._rests_until

    @contextmanager
    def busy(self) -> Iterator[float]:
        """Counts a request while it is in flight; the first one after a rest is the trial. Gives when it starts."""
        trial = self.is_due_for_trial
        self._on_trial |= trial
        self.in_flight += 1
        try:
            yield self._clock()
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
        self.answered_s = self._clock()
        self._failures, self.rest_s, self._rests_until = 0, 0.0, 0.0

    def note_failure(self, error: RequestFailed | JudgeRefusedError, asked_s: float | None = None) -> None:
        """Take in a failure. One that no other attempt can mend says nothing of the endpoint.

        Args:
            error: The failure.
            asked_s: When the request was sent; just now if not given.
        """
        asked_s = self._clock() if asked_s is None else asked_s
        self.refuses = isinstance(error, JudgeRefusedError)
        if isinstance(error, JudgeRefusedError) or (error.kind is FailureKind.TIMEOUT and asked_s >= self.answered_s):
            self._failures = max(self._failures + 1, FAILURES_TO_OPEN)
        elif error.kind is FailureKind.RATE_LIMITED:
            self._rest(error.retry_after_s or FIRST_REST_S)
        elif error.retryable:
            self._failures += 1
        else:
            return
        # What was sent before the rest began, or during it, says nothing of the time after it.
        if self.is_open and asked_s >= self._rests_until:
            self.rest_s = min(2 * self.rest_s, MAX_REST_S) or FIRST_REST_S
            self._rest(self.rest_s)

    def _rest(self, duration_s: float) -> None:
        self._rests_until = max(self._rests_until, self._clock() + min(duration_s, MAX_REST_S))


class Endpoints:
    """The endpoints of one judge model.

    Args:
        urls: Their URLs.
        clock: The time in seconds that rests go by.
    """

    def __init__(self, urls: Sequence[str | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._all = [Endpoint(url, clock) for url in urls]
        self._open: dict[Endpoint, None] = {}

    @property
    def all_refuse(self) -> bool:
        """Whether the last answer of every endpoint was a refusal."""
        return all(endpoint.refuses for endpoint in self._all)

    def choose(self, tried: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for an attempt: the least busy of the healthy ones, any of those that are equally busy.

        Always the same one of these would get the requests of every process that has few in flight, and the others
        none. There is always an endpoint: where none is healthy, the breakers only say which is the most promising.

        Args:
            tried: Endpoints that have failed this request; others come first, and those that have been silent for long
                come last: what has befallen one may have befallen them.
        """
        among = CHANCE.sample(self._all, min(SAMPLED, len(self._all)))
        fresh_s = _midway([e.answered_s for e in among]) if tried else 0.0

        def rank(e: Endpoint) -> tuple[float, ...]:
            stale = e.answered_s < fresh_s
            return not e.is_healthy, e in tried, e.doubts > 0, not e.is_due_for_trial, e.rest_s, stale, e.in_flight

        best = min(among, key=rank)
        if len(self._all) > SAMPLED and (best in tried or not best.is_healthy):
            return min(self._all, key=rank)
        return best

    def due_for_trial(self) -> Endpoint | None:
        """An endpoint that has rested and is to be asked again: the one whose breaker has been open the longest."""
        return next((endpoint for endpoint in self._open if endpoint.is_due_for_trial), None)

    def has_another(self, tried: Collection[Endpoint]) -> bool:
        """Whether a healthy endpoint has not been tried."""
        return any(endpoint.is_healthy and endpoint not in tried for endpoint in self._all)

    def note_success(self, endpoint: Endpoint) -> None:
        """Take in that an endpoint answered as it should."""
        if endpoint.is_open:
            logger.info("the judge at %s answers again", shown_url(str(endpoint.url)))
        endpoint.note_success()
        self._open.pop(endpoint, None)

    def note_failure(
        self, endpoint: Endpoint, error: RequestFailed | JudgeRefusedError, asked_s: float | None = None
    ) -> None:
        """Take in a failure of an endpoint, and warn when its breaker opens. An overflow shows that it answers."""
        if isinstance(error, RequestFailed) and error.kind is FailureKind.CONTEXT_OVERFLOW:
            self.note_success(endpoint)
            return
        was_open = endpoint.is_open
        endpoint.note_failure(error, asked_s)
        if endpoint.is_open:
            self._open[endpoint] = None
        if endpoint.is_open and not was_open and len(self._all) > 1:
            logger.warning("%s; the other endpoints are used, and this one when it answers again", error)


def _midway(values: Sequence[float]) -> float:
    return (min(values) + max(values)) / 2
