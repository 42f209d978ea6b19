"""The transport without litellm's call path, for hosted_vllm: the same request for a fraction of the CPU.

litellm's own provider configuration says, once for each endpoint, which URL, key and model name it would send to. The
body needs no resolving: litellm passes a hosted_vllm request's parameters on as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.http import open_session, parse_answer, post_chat
from open_instruct_flip.client.litellm_transport import load_litellm
from open_instruct_flip.client.request import ChatRequest, Completion, read_completion


class DirectTransport:
    """One aiohttp session on one event loop."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._session = open_session()
        self._providers: dict[str | None, _Provider] = {}

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send one request; see `Transport.complete`. The time limit is kept by the caller."""
        provider = self._providers.get(endpoint)
        if provider is None:
            provider = self._providers[endpoint] = _provider(self._config, endpoint)
        where = endpoint or provider.url
        content = await post_chat(
            self._session, provider.url, provider.body(request), provider.headers, where=where, model=provider.model
        )
        return read_completion(parse_answer(content, where=where), where=where)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


@dataclass(frozen=True, slots=True)
class _Provider:
    """How litellm reaches an endpoint."""

    url: str
    headers: dict[str, str]
    model: str

    def body(self, request: ChatRequest) -> str:
        return json.dumps({"model": self.model, **request.parameters(), **(request.extra_body or {})})


def _provider(config: ClientConfig, endpoint: str | None) -> _Provider:
    """Ask litellm which URL, key and headers it would use."""
    litellm = load_litellm()
    from litellm.utils import ProviderConfigManager

    model, provider, key, url = litellm.get_llm_provider(
        config.llm_judge_model, api_base=endpoint, api_key=config.api_key()
    )
    settings: dict[str, Any] = {"model": model, "optional_params": {}, "litellm_params": {}}
    chat: Any = ProviderConfigManager.get_provider_chat_config(model, litellm.LlmProviders(provider))
    headers = chat.validate_environment(headers={}, messages=[], api_key=key, api_base=url, **settings)
    return _Provider(
        url=chat.get_complete_url(api_base=url, api_key=key, **settings),
        headers={"Content-Type": "application/json", **headers},
        model=model,
    )
