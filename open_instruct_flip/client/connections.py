"""What the clients of one configuration share on one event loop, and how long it lives."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.endpoints import Endpoint, Endpoints
from open_instruct_flip.client.pace import Pace
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed, Transport
from open_instruct_flip.client.urls import shown_url
from open_instruct_flip.errors import FlipError, JudgeRefusedError
from open_instruct_flip.rewards import FailureKind

if TYPE_CHECKING:
    from open_instruct_flip.client.direct_transport import DirectTransport
    from open_instruct_flip.client.litellm_transport import LitellmTransport
    from open_instruct_flip.client.local_transport import LocalTransport

STARTS_PER_TURN = 2
"""How many requests start in one turn of the event loop. A policy engine may run on it: hundreds that start at once, as
the groups of a batch do, would hold it up for 20 ms on the direct route."""
EXIT_TIMEOUT_S = 2.0

Key = tuple[asyncio.AbstractEventLoop, ClientConfig, str | None]


class Connections:
    """A transport, free slots, and the endpoints' health.

    A task waits for the end, since `asyncio.run` and its like cancel what still waits when they end their loop: so the
    connections are closed even where nobody calls `aclose`.
    """

    def __init__(self, key: Key, transport: Transport) -> None:
        loop, self._config, _ = self._key = key
        self.endpoints = Endpoints(self._config.endpoints(), loop.time)
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self._transport = transport
        self._slots = asyncio.Semaphore(self._config.max_concurrency)
        self._prompt_slots = asyncio.Semaphore(self._config.max_prompt_logprobs)
        self._pace = Pace(self._config.llm_judge_model)
        self._door = asyncio.Semaphore(STARTS_PER_TURN)
        self._trials: dict[Endpoint, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._life = asyncio.create_task(self._live())

    async def send(self, request: ChatRequest, tried: list[Endpoint]) -> Completion:
        """One attempt, once a slot is free. The time limit covers the request, not the wait for its slot.

        A request that is rejected is tried once on another endpoint, since the server may be to blame as well.

        Args:
            request: What to send.
            tried: Endpoints that have failed this request; those chosen now are added.
        """
        if not request.reads_prompt or self._config.in_process:
            return await self._send(request, tried)
        async with self._prompt_slots:
            with self._pace.reading() as read:
                completion = await self._send(request, tried)
                read(completion.usage.prompt_tokens)
                return completion

    async def _send(self, request: ChatRequest, tried: list[Endpoint]) -> Completion:
        async with self._slots:
            async with self._door:
                await asyncio.sleep(0)
            try:
                return await self._attempt(request, tried)
            except RequestFailed as error:
                may_go_on = len(tried) < self._config.max_attempts and self.endpoints.has_another(tried)
                if error.kind is not FailureKind.REJECTED or not may_go_on:
                    raise
                return await self._second_opinion(request, tried, error)

    async def _second_opinion(
        self, request: ChatRequest, tried: list[Endpoint], rejection: RequestFailed
    ) -> Completion:
        """Ask another endpoint whether a rejected request is at fault, or the one that rejected it."""
        suspect = tried[-1]
        try:
            with suspect.doubted():
                completion = await self._attempt(request, tried)
        except RequestFailed as error:
            if error.kind is FailureKind.REJECTED:  # rightly so, by both
                for endpoint in (suspect, tried[-1]):
                    self.endpoints.note_success(endpoint)
            raise
        detail = f"{rejection}, which another endpoint took"
        self.endpoints.note_failure(suspect, RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True))
        return completion

    async def _attempt(self, request: ChatRequest, tried: list[Endpoint]) -> Completion:
        endpoint = self.endpoints.choose(tried)
        if endpoint.is_healthy and not tried:
            self._begin_trial(request)
        tried.append(endpoint)
        return await self._ask(request, endpoint)

    def _begin_trial(self, request: ChatRequest) -> None:
        """Send a copy of a request to an endpoint that has rested, if there is one.

        No rollout waits for the answer: that of a server which is silent takes as long as the time limit. Nor does it
        take a slot, or count in any usage.
        """
        endpoint = self.endpoints.due_for_trial()
        if endpoint is not None and endpoint not in self._trials:
            self._trials[endpoint] = trial = asyncio.create_task(self._try(request, endpoint))
            trial.add_done_callback(lambda _: self._trials.pop(endpoint))

    async def _try(self, request: ChatRequest, endpoint: Endpoint) -> None:
        try:
            await self._ask(request, endpoint)
        except FlipError as error:
            if endpoint.is_due_for_trial:  # what may be the request's own fault has not made it rest
                failure = RequestFailed(FailureKind.SERVER_ERROR, str(error), retryable=True)
                self.endpoints.note_failure(endpoint, failure)

    async def _ask(self, request: ChatRequest, endpoint: Endpoint) -> Completion:
        started = time.perf_counter()
        with endpoint.busy() as asked_s:
            try:
                completion = await self._answer(request, endpoint.url)
            except (RequestFailed, JudgeRefusedError) as error:
                self.endpoints.note_failure(endpoint, error, asked_s)
                raise
        if completion.usage.requests:  # the cache's answers say nothing about the endpoint
            self.endpoints.note_success(endpoint)
        return replace(completion, latency_s=time.perf_counter() - started)

    async def _answer(self, request: ChatRequest, url: str | None) -> Completion:
        limit_s = self._config.timeout_s
        try:
            # In this process, what waits for its turn is not late.
            async with asyncio.timeout(None if self._config.in_process else limit_s):
                return await self._transport.complete(request, url, limit_s)
        except TimeoutError as error:
            where = shown_url(url or self._config.llm_judge_model)
            detail = f"{where} did not answer within {limit_s:g} s"
            raise RequestFailed(FailureKind.TIMEOUT, detail, retryable=True) from error

    async def leave(self, user: object) -> None:
        """Close them, unless another user is left."""
        self.users.discard(user)
        if not self.users:
            await self.aclose()

    async def aclose(self) -> None:
        """Close them, whoever uses them. Who comes from now on gets new ones."""
        self._withdraw()
        self._closing.set()
        await self._life

    async def _live(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._closing.wait()
        self._withdraw()
        trials = list(self._trials.values())
        for trial in trials:
            trial.cancel()
        await asyncio.gather(*trials, return_exceptions=True)
        await self._transport.aclose()

    def _withdraw(self) -> None:
        """Be found no more. A closed loop would be kept for as long as they can be."""
        if _OPEN.get(self._key) is self:
            del _OPEN[self._key]


# Clients with the same configuration and key share connections and slots, on each loop.
_OPEN: dict[Key, Connections] = {}
_PROCESS = os.getpid()


async def join(config: ClientConfig, user: object) -> Connections:
    """The running loop's connections for a configuration, made at first use and kept for as long as a user is left."""
    key = _key(config)
    if key not in _OPEN:
        # Importing takes seconds, which the loop may owe to others.
        kind = await asyncio.to_thread(transport_class, config)
        if key not in _OPEN:
            share(config, _with_cache(_with_sglang(kind(config), config), config))
    _OPEN[key].users.add(user)
    return _OPEN[key]


def share(config: ClientConfig, transport: Transport) -> Connections:
    """Open connections over a transport, for all clients of a configuration on the running loop."""
    _forget_closed_loops()
    key = _key(config)
    _OPEN[key] = Connections(key, transport)
    return _OPEN[key]


def _key(config: ClientConfig) -> Key:
    return asyncio.get_running_loop(), config, config.api_key()


async def leave(user: object) -> None:
    """Close the running loop's connections of a user, except those that another one shares."""
    loop = asyncio.get_running_loop()
    for (of_loop, _, _), shared in list(_OPEN.items()):
        if of_loop is loop and user in shared.users:
            await shared.leave(user)


def _forget_closed_loops() -> None:
    for key in [key for key in _OPEN if key[0].is_closed()]:  # closed by hand, without cancelling their tasks
        del _OPEN[key]


@atexit.register
def _close_running_loops() -> None:
    """Close what loops hold that nobody will ever end, such as a trainer's in a thread of its own."""
    if os.getpid() != _PROCESS:
        return  # a forked process has the loops, but not the threads that run them
    for (loop, _, _), shared in list(_OPEN.items()):
        if loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(shared.aclose(), loop)
            with contextlib.suppress(TimeoutError):
                closing.result(timeout=EXIT_TIMEOUT_S)


def transport_class(config: ClientConfig) -> type[DirectTransport] | type[LitellmTransport] | type[LocalTransport]:
    """What carries a judge's requests; imports it, which takes seconds for litellm."""
    if config.in_process:
        from open_instruct_flip.client.local_transport import LocalTransport

        return LocalTransport
    if config.judge_transport == "direct":
        from open_instruct_flip.client.direct_transport import DirectTransport

        return DirectTransport
    from open_instruct_flip.client.litellm_transport import LitellmTransport, load_litellm

    load_litellm()
    return LitellmTransport


def _with_sglang(transport: Transport, config: ClientConfig) -> Transport:
    if not config.hosted:
        return transport
    from open_instruct_flip.client.sglang_transport import SglangTransport

    return SglangTransport(transport, config)


def _with_cache(transport: Transport, config: ClientConfig) -> Transport:
    if config.cache_dir is None:
        return transport
    from open_instruct_flip.client.cache import CachingTransport, ReplyCache
    from open_instruct_flip.client.probe import served_identity

    return CachingTransport(transport, ReplyCache(Path(config.cache_dir)), partial(served_identity, config))
