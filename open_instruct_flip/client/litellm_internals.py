"""All that is known of litellm beyond its `acompletion`, and the check that the installed version is so.

`litellm.acompletion` takes several times the CPU of the request itself: for prices, log entries and a detour through a
thread, though nobody reads them. Its provider configuration says by itself what is sent.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from types import ModuleType
from typing import Any

from open_instruct_flip.client.request import ChatRequest

logger = logging.getLogger(__name__)

LISTENERS = (
    *("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback", "cache"),
    *("_async_input_callback", "_async_success_callback", "_async_failure_callback"),
)
"""Where litellm keeps who wants to hear of calls, or to answer them."""


@lru_cache(maxsize=1)
def load_litellm() -> ModuleType:
    """Import litellm, once and at first use: it takes seconds, and would fetch a price list from the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def has_listeners() -> bool:
    """Whether anyone has asked litellm to report calls, or to answer them from its cache."""
    litellm = load_litellm()
    return any(getattr(litellm, name, None) for name in LISTENERS)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where litellm sends the requests to an endpoint, and what.

    Attributes:
        url: The full URL.
        headers: The key's header, and others.
        model: The model's name on the server.
        chat: litellm's configuration of the provider.
    """

    url: str
    headers: dict[str, str]
    model: str
    chat: Any

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """The JSON body of a request."""
        parameters = {**request.parameters(), **(request.extra_body or {})}
        messages = [dict(message) for message in parameters.pop("messages")]  # litellm may change them in place
        body: dict[str, Any] = self.chat.transform_request(
            model=self.model, messages=messages, optional_params=parameters, litellm_params={}, headers={}
        )
        return body


def hosted_provider(model: str, api_base: str | None, api_key: str | None) -> Provider | None:
    """How litellm reaches an endpoint of a hosted_vllm model, or None where the installed version can't be asked."""
    try:
        provider = _ask_litellm(model, api_base, api_key)
        _check(provider)
    except Exception as error:  # whatever another version does
        logger.debug("litellm %s is not as expected (%r); its acompletion is used", version("litellm"), error)
        return None
    return provider


def _ask_litellm(model: str, api_base: str | None, api_key: str | None) -> Provider:
    litellm = load_litellm()
    from litellm.utils import ProviderConfigManager

    name, provider, key, url = litellm.get_llm_provider(model, api_base=api_base, api_key=api_key)
    chat: Any = ProviderConfigManager.get_provider_chat_config(name, litellm.LlmProviders(provider))
    settings: dict[str, Any] = {"model": name, "optional_params": {}, "litellm_params": {}}
    headers = chat.validate_environment(headers={}, messages=[], api_key=key, api_base=url, **settings)
    return Provider(chat.get_complete_url(api_base=url, api_key=key, **settings), headers, name, chat)


def _check(provider: Provider) -> None:
    """Raise ValueError where a request would not be the one that its parameters describe."""
    asked = ChatRequest([{"role": "user", "content": "x"}], max_tokens=1, seed=1, extra_body={"top_k": 1})
    body = provider.body(asked)
    if body != {"model": provider.model, **asked.parameters(), "top_k": 1}:
        raise ValueError(f"its body is {body}")
    if not provider.url.endswith("/chat/completions") or "Authorization" not in provider.headers:
        raise ValueError("it names another URL, or no key")
