"""How fast a server reads prompts for their log-probabilities, and a warning where that will hold a run up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

ANSWERS_TO_MEASURE = 16
SLOW_TOKENS_PER_S = 1000.0
"""A group of eight responses of 250 tokens takes longer than two seconds below this."""


class Pace:
    """Prompt tokens per second of the time in which at least one request was in flight.

    Args:
        name: The judge model, as the warning names it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_flight = 0
        self._since = 0.0
        self._busy_s = 0.0
        self._tokens = 0
        self._answers = 0

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """Counts a request while it is in flight; gives what takes the number of prompt tokens it had."""
        self._tick()
        self._in_flight += 1
        try:
            yield self._note
        finally:
            self._tick()
            self._in_flight -= 1

    def _tick(self) -> None:
        now = time.perf_counter()
        self._busy_s += (now - self._since) * (self._in_flight > 0)
        self._since = now

    def _note(self, prompt_tokens: int) -> None:
        self._tick()
        self._tokens += prompt_tokens
        self._answers += 1
        if self._answers == ANSWERS_TO_MEASURE and self._tokens < SLOW_TOKENS_PER_S * self._busy_s:
            logger.warning(
                "the server of %s returns prompt_logprobs of %.0f tokens per second; --judge_transport local reads "
                "the same from the model's folder, several times faster on a CPU",
                *(self._name, self._tokens / self._busy_s),
            )
