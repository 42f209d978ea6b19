"""A judge's answers on disk, so that the same question is not paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed, Transport
from open_instruct_flip.errors import FlipError
from open_instruct_flip.rewards import FailureKind, Usage

Result = TypeVar("Result")
Identify = Callable[[str | None, float], Awaitable[str | None]]

FILE_NAME = "replies.sqlite3"
BUSY_TIMEOUT_S = 30.0
IDENTITY_GOOD_FOR_S = 5.0
"""How long after an endpoint's last answer it surely is the same server: one that loads a model takes longer."""
UNKNOWN_FOR_S = 30.0
"""How long an endpoint that did not say which model it serves is not asked again."""


class ReplyCache:
    """Completions by what was asked, in a SQLite file that many processes may share.

    It works in a thread of its own, so that an event loop never waits for the disk. The folder must lie on a local
    disk: SQLite's write-ahead log needs shared memory.

    Args:
        folder: Where the file is, or will be made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flip-cache")
        self._connection: sqlite3.Connection | None = None

    async def get(self, model: str, request: ChatRequest) -> Completion | None:
        """The completion that a model gave to this request, or None. It costs no tokens and no request."""
        return await self._run(self._get, _key(model, request))

    async def put(self, model: str, request: ChatRequest, completion: Completion) -> None:
        """Keep a model's completion."""
        await self._run(self._put, _key(model, request), completion)

    async def aclose(self) -> None:
        """Close the file."""
        if self._connection is not None:
            try:
                await self._run(self._connection.close)
            except RuntimeError:  # at the interpreter's end, threads take no more work
                self._connection.close()
        self._thread.shutdown()

    async def _run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise FlipError(f"the reply cache {self.path} can't be used ({error}); give another --cache_dir") from error

    def _get(self, key: bytes) -> Completion | None:
        found = self._open().execute("SELECT completion FROM replies WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        kept = json.loads(found[0])
        return Completion(
            tuple(kept["texts"]),
            tuple(kept["finish_reasons"]),
            Usage(),
            prompt_logprobs=kept["prompt_logprobs"],
            answer_length=kept.get("answer_length"),
        )

    def _put(self, key: bytes, completion: Completion) -> None:
        kept = {
            "texts": completion.texts,
            "finish_reasons": completion.finish_reasons,
            "prompt_logprobs": completion.prompt_logprobs,
            "answer_length": completion.answer_length,
        }
        self._open().execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, json.dumps(kept)))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, completion TEXT) WITHOUT ROWID"
            )
            self._connection = connection
        return self._connection


def _key(model: str, request: ChatRequest) -> bytes:
    asked = [model, request.parameters(), request.extra_body]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()


class CachingTransport:
    """A transport that looks into the cache first, and keeps what it had to ask for.

    Only requests whose answer is meant to be the same each time are kept: at temperature 0, or with a seed; and only
    where it is known which model answers. After a failed request an endpoint may have come back with another model.

    Args:
        transport: What asks.
        cache: What keeps.
        identify: Says which model an endpoint serves, see `probe.served_identity`; or None where that can't be learned.
    """

    def __init__(self, transport: Transport, cache: ReplyCache, identify: Identify) -> None:
        self._transport = transport
        self._cache = cache
        self._identify = identify
        self._identities: dict[str | None, str] = {}
        self._answered_at: dict[str | None, float] = {}
        self._unknown_until: dict[str | None, float] = {}
        self._asking: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Answer from the cache, or send the request; see `Transport.complete`."""
        if request.temperature > 0 and request.seed is None:
            return await self._send(request, endpoint, timeout_s)
        model = await self._identity(endpoint, timeout_s)
        if model is None:
            return await self._send(request, endpoint, timeout_s)
        kept = await self._cache.get(model, request)
        if kept is not None:
            return kept
        completion = await self._send(request, endpoint, timeout_s)
        self._answered_at[endpoint] = time.monotonic()
        if self._identities.get(endpoint) == model:
            await self._cache.put(model, request, completion)
        return completion

    async def _send(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        try:
            return await self._transport.complete(request, endpoint, timeout_s)
        except (FlipError, asyncio.CancelledError) as error:  # a timeout cancels
            if not (isinstance(error, RequestFailed) and error.kind is FailureKind.CONTEXT_OVERFLOW):
                self._identities.pop(endpoint, None)
            raise

    async def _identity(self, endpoint: str | None, timeout_s: float) -> str | None:
        async with self._asking[endpoint]:  # hundreds of requests start at once
            if time.monotonic() - self._answered_at.get(endpoint, 0.0) > IDENTITY_GOOD_FOR_S:
                self._identities.pop(endpoint, None)
            if endpoint not in self._identities and time.monotonic() >= self._unknown_until.get(endpoint, 0.0):
                # Half of the time is left for the request itself.
                model = await self._identify(endpoint, timeout_s / 2)
                if model is None:
                    self._unknown_until[endpoint] = time.monotonic() + UNKNOWN_FOR_S
                else:
                    self._identities[endpoint] = model
                    self._answered_at[endpoint] = time.monotonic()
            return self._identities.get(endpoint)

    async def aclose(self) -> None:
        """Close the connections and the cache."""
        await self._transport.aclose()
        await self._cache.aclose()
