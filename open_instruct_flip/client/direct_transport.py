"""The transport for hosted_vllm: the request that litellm would send, without litellm and its CPU."""

from __future__ import annotations

from open_instruct_flip.client.config import HOSTED_VLLM, ClientConfig
from open_instruct_flip.client.http import open_session, post_chat
from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.client.urls import shown_url

NO_KEY = "fake-api-key"
"""What litellm sends where there is no key."""


class DirectTransport:
    """One aiohttp session on one event loop."""

    def __init__(self, config: ClientConfig) -> None:
        self._model = config.llm_judge_model.removeprefix(HOSTED_VLLM)
        self._headers = {"Authorization": f"Bearer {config.api_key() or NO_KEY}"}
        self._session = open_session()

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send one request; see `Transport.complete`. The time limit is kept by the caller."""
        body = {"model": self._model, **request.parameters(), **(request.extra_body or {})}
        url = f"{endpoint}/chat/completions"
        return await post_chat(self._session, url, self._headers, body, where=shown_url(str(endpoint)))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()
