"""Counters for Prometheus, by its client library."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_instruct_flip.rewards import Reward

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
SHARED_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Where several workers leave their counts, by the client library's own convention."""


class Metrics:
    """What a server has done. With several workers, `text` adds up what all of them have counted."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.responses = Counter(
            "flip_responses", "Responses judged, by what became of them", ["outcome"], registry=registry
        )
        self.requests = Counter("flip_requests", "Requests, by path and status", ["path", "status"], registry=registry)
        self.held = Gauge(
            "flip_rollouts_held", "Responses being judged", registry=registry, multiprocess_mode="livesum"
        )
        self.seconds = Histogram("flip_request_seconds", "Time of a request", registry=registry, buckets=SECONDS)
        self.tokens = Counter("flip_judge_tokens", "Tokens that the judge read and wrote", ["kind"], registry=registry)

    def count(self, rewards: Sequence[Reward]) -> None:
        """Take in verdicts."""
        for reward in rewards:
            self.responses.labels(str(reward.error or "judged")).inc()
        self.tokens.labels("prompt").inc(sum(reward.usage.prompt_tokens for reward in rewards))
        self.tokens.labels("completion").inc(sum(reward.usage.completion_tokens for reward in rewards))

    def text(self) -> bytes:
        """All of it in Prometheus's own form."""
        registry = self._registry
        if SHARED_DIR in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)


class Measured:
    """ASGI middleware that counts requests and their time."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Sequence[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(scope["path"], str(message["status"])).inc()
                self._metrics.seconds.observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, noted)
