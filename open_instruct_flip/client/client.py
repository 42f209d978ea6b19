"""The judge client: the one retry layer over connections that are shared."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any, Self

from open_instruct_flip.client.chance import CHANCE
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.connections import join, leave
from open_instruct_flip.client.endpoints import Endpoint, Endpoints
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.errors import JudgeRefusedError
from open_instruct_flip.rewards import FailureKind, Usage

logger = logging.getLogger(__name__)

MAX_RETRY_WAIT_S = 30.0


class JudgeClient:
    """Sends chat requests to a judge model.

    Its connections belong to the event loop that uses them. `aclose`, or `async with`, closes them; so does the loop's
    end. Pickled, it is its configuration.
    """

    def __init__(self, config: ClientConfig) -> None:
        # An impossible endpoint is refused here, before any request; what is found holds in other processes too.
        urls = [url for url in config.endpoints() if url is not None]
        self.config = replace(config, api_base=",".join(urls) or None)
        self._has_succeeded = False

    async def complete(self, request: ChatRequest) -> Completion:
        """Send a request; again where that can help, and to another endpoint first where there is one.

        Raises:
            RequestFailed: All attempts failed, or the first one did in a way that no other can mend.
            JudgeRefusedError: Every endpoint refuses the key, the model or the URL, and none has answered yet.
            JudgeUnusableError: The judge can't do what is asked at all.
        """
        connections = await join(self.config, self)
        tried: list[Endpoint] = []
        while True:
            try:
                completion = await connections.send(request, tried)
            except (RequestFailed, JudgeRefusedError) as error:
                failure = self._failure(error, connections.endpoints)
                failure.requests = len(tried)
                if not failure.retryable or len(tried) == self.config.max_attempts:
                    raise failure from error.__cause__
                logger.debug("attempt %d failed: %s", len(tried), failure)
                await asyncio.sleep(self._wait_s(failure, len(tried), connections.endpoints.has_another(tried)))
            else:
                self._has_succeeded |= completion.usage.requests > 0
                return replace(completion, usage=completion.usage + Usage(requests=len(tried) - 1))

    def _failure(self, error: RequestFailed | JudgeRefusedError, endpoints: Endpoints) -> RequestFailed:
        """An attempt's failure; a refusal by all endpoints is raised until a success has shown the settings right."""
        if isinstance(error, RequestFailed):
            return error
        if endpoints.all_refuse and not self._has_succeeded:
            raise error
        before = ", though the judge had answered before" if self._has_succeeded else ""
        return RequestFailed(FailureKind.REFUSED, f"{error}{before}", retryable=True)

    def _wait_s(self, error: RequestFailed, number: int, has_another: bool) -> float:
        """How long to wait after a failed attempt: as the server asked, else doubled each time, with full jitter.

        Another endpoint is asked at once, and a third after a while: where many die together, all attempts would else
        be spent on dead ones, which are the least busy, before their breakers open.
        """
        if has_another and number == 1:
            return 0.0
        if error.retry_after_s is not None and not has_another:
            return min(error.retry_after_s, MAX_RETRY_WAIT_S)
        return CHANCE.uniform(0, min(self.config.retry_wait_s * 2 ** (number - 1), MAX_RETRY_WAIT_S))

    async def aclose(self) -> None:
        """Close this client's connections on the running event loop, unless another client uses them too."""
        await leave(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        return JudgeClient, (self.config,)
