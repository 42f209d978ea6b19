"""The judge client: endpoints, bounded concurrency and the one retry layer, over a transport."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import random
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed, Transport
from open_instruct_flip.rewards import FailureKind, Usage

logger = logging.getLogger(__name__)

ENDPOINT_REST_S = 5.0
"""How long an endpoint that could not be reached is passed over while others can."""
STARTS_PER_TURN = 2
"""How many requests start in one turn of the event loop: hundreds at once would hold up whoever else runs on it."""
MAX_RETRY_WAIT_S = 30.0
EXIT_TIMEOUT_S = 2.0


class JudgeClient:
    """Sends chat requests to a judge model.

    Holds configuration only, so that it pickles; connections belong to the event loop that uses them and are
    closed with it, or by `aclose`.
    """

    def __init__(self, config: ClientConfig) -> None:
        # An impossible endpoint is refused here, before any request; what is found holds in other processes too.
        urls = [url for url in config.endpoints() if url is not None]
        self.config = replace(config, api_base=",".join(urls) or None)

    async def complete(self, request: ChatRequest) -> Completion:
        """Send a request, again where that can help.

        Raises:
            RequestFailed: All attempts failed, or the first one did in a way that no other can mend.
            JudgeUnusableError: No request to this judge can succeed.
        """
        connections = await _connections(self.config)
        connections.users.add(self)
        number = 1
        while True:  # not tenacity: its state for each call costs as much as sending the request
            try:
                completion = await connections.send(request)
            except RequestFailed as error:
                error.requests = number
                if not error.retryable or number == self.config.max_attempts:
                    raise
                logger.debug("attempt %d failed: %s", number, error)
                await asyncio.sleep(self._wait_s(error, number))
                number += 1
            else:
                if number == 1:
                    return completion
                return replace(completion, usage=completion.usage + Usage(requests=number - 1))

    def _wait_s(self, error: RequestFailed, number: int) -> float:
        """How long to wait after a failed attempt: as the server asked, else doubled each time, with full jitter."""
        if error.retry_after_s is not None:
            return min(error.retry_after_s, MAX_RETRY_WAIT_S)
        return random.uniform(0, min(self.config.retry_wait_s * 2 ** (number - 1), MAX_RETRY_WAIT_S))

    async def aclose(self) -> None:
        """Close this client's connections on the running event loop, unless another client uses them too."""
        for connections in list(_LOOPS.get(asyncio.get_running_loop(), {}).values()):
            if self in connections.users:
                connections.users.discard(self)
                if not connections.users:
                    await connections.aclose()


class _Connections:
    """What clients of one configuration need on one event loop: a transport, free slots, how busy each endpoint is."""

    def __init__(self, config: ClientConfig) -> None:
        self.users: weakref.WeakSet[JudgeClient] = weakref.WeakSet()
        self._config = config
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._door = asyncio.Semaphore(STARTS_PER_TURN)
        self._in_flight: dict[str | None, int] = dict.fromkeys(config.endpoints(), 0)
        self._rests_until: dict[str | None, float] = {}
        self._lifetime = self._live()
        self._transport: Transport | None = None

    async def send(self, request: ChatRequest) -> Completion:
        """One attempt, once a slot is free. The time limit covers the request, not the wait for its slot."""
        if self._transport is None:
            self._transport = await self._open()
        async with self._slots:
            async with self._door:
                await asyncio.sleep(0)
            endpoint = self._least_busy()
            self._in_flight[endpoint] += 1
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    completion = await self._transport.complete(request, endpoint, self._config.timeout_s)
            except TimeoutError as error:
                raise RequestFailed(
                    FailureKind.TIMEOUT,
                    f"{endpoint or self._config.llm_judge_model} did not answer within {self._config.timeout_s:g} s",
                    retryable=True,
                ) from error
            except RequestFailed as error:
                if error.kind is FailureKind.UNREACHABLE:
                    self._rests_until[endpoint] = time.monotonic() + ENDPOINT_REST_S
                raise
            finally:
                self._in_flight[endpoint] -= 1
        return replace(completion, latency_s=time.perf_counter() - started)

    async def _open(self) -> Transport:
        try:
            return await anext(self._lifetime)
        except BaseException:
            self._lifetime = self._live()  # a generator that has raised is spent
            raise

    async def aclose(self) -> None:
        self._forget()
        await self._lifetime.aclose()

    def _forget(self) -> None:
        # Connections hold their loop, so that a closed loop would be kept for as long as they are.
        of_loop = _LOOPS.get(asyncio.get_running_loop(), {})
        for key in [key for key, connections in of_loop.items() if connections is self]:
            del of_loop[key]

    def _least_busy(self) -> str | None:
        now = time.monotonic()
        awake = [e for e in self._in_flight if self._rests_until.get(e, 0.0) <= now]
        return min(awake or self._in_flight, key=self._in_flight.__getitem__)

    async def _live(self) -> AsyncGenerator[Transport, None]:
        # An event loop closes its unfinished asynchronous generators when it ends (asyncio.run does it), so that
        # connections are closed even where nobody calls aclose.
        transport = _with_cache(_make_transport(self._config), self._config)
        try:
            yield transport
        finally:
            self._forget()
            await transport.aclose()


# Keyed by loop, then by configuration and key: clients of which both are equal share connections and slots.
_LOOPS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[ClientConfig, str | None], _Connections]] = (
    weakref.WeakKeyDictionary()
)
_PROCESS = os.getpid()


@atexit.register
def _close_running_loops() -> None:
    """Close what loops still hold that nobody will ever end, such as a trainer's in a thread of its own."""
    if os.getpid() != _PROCESS:
        return  # a forked process has the loops, but not the threads that run them
    for loop, of_loop in list(_LOOPS.items()):
        if loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(_close_all(list(of_loop.values())), loop)
            with contextlib.suppress(TimeoutError):
                closing.result(timeout=EXIT_TIMEOUT_S)


async def _close_all(connections: Sequence[_Connections]) -> None:
    for one in connections:
        await one.aclose()


async def _connections(config: ClientConfig) -> _Connections:
    of_loop = _LOOPS.setdefault(asyncio.get_running_loop(), {})
    key = (config, config.api_key())
    if key not in of_loop:
        # Importing takes seconds, which the loop may owe to others: a policy engine runs on it.
        await asyncio.to_thread(_import_transport)
        of_loop.setdefault(key, _Connections(config))
    return of_loop[key]


def _import_transport() -> None:
    from open_instruct_flip.client.litellm_transport import load_litellm

    load_litellm()


def _make_transport(config: ClientConfig) -> Transport:
    if config.judge_transport == "direct":
        from open_instruct_flip.client.direct_transport import DirectTransport

        return DirectTransport(config)
    from open_instruct_flip.client.litellm_transport import LitellmTransport

    return LitellmTransport(config)


def _with_cache(transport: Transport, config: ClientConfig) -> Transport:
    if config.cache_dir is None:
        return transport
    from open_instruct_flip.client.cache import CachingTransport, ReplyCache

    return CachingTransport(transport, ReplyCache(Path(config.cache_dir), config.llm_judge_model))
