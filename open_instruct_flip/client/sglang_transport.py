"""The log-probabilities of a chat's last turn from an SGLang server, which computes them from a given token on.

Its chat route returns none of a prompt; its native route takes token ids (docs.sglang.io, "Sampling Parameters" and
"Native APIs"), so that the chat is rendered here, with the tokenizer that the server names.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import lru_cache
from typing import Any

import aiohttp

from open_instruct_flip.client.chat_tokens import chat_tokens, token_texts
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.http import open_session, post_json
from open_instruct_flip.client.local_transport import answer_completion
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed, Transport
from open_instruct_flip.client.urls import has_credentials, shown_url
from open_instruct_flip.errors import JudgeUnusableError, MissingDependencyError, install_line
from open_instruct_flip.rewards import FailureKind

OTHER_SERVER = ""


class SglangTransport:
    """Sends requests for a prompt's log-probabilities to SGLang's own route, and all others on.

    Args:
        transport: What sends the others, and all of them where the server is none of SGLang's.
        config: Key and model.
    """

    def __init__(self, transport: Transport, config: ClientConfig) -> None:
        self._transport = transport
        self._config = config
        key = config.api_key()
        self._headers = {"Authorization": f"Bearer {key}"} if key else {"Authorization": ""}
        self._session: aiohttp.ClientSession | None = None
        self._tokenizers: dict[str, str] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Send one request; see `Transport.complete`."""
        if endpoint is None or not request.reads_prompt:
            return await self._transport.complete(request, endpoint, timeout_s)
        name = await self._tokenizer_name(endpoint)
        if name == OTHER_SERVER:
            return await self._transport.complete(request, endpoint, timeout_s)
        template = (request.extra_body or {}).get("chat_template_kwargs", {})
        ids, start, texts = await asyncio.to_thread(_encode, name, request, template)
        return await self._read(endpoint, ids, start, texts)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
        await self._transport.aclose()

    async def _read(self, endpoint: str, ids: list[int], start: int, texts: list[str]) -> Completion:
        where = shown_url(endpoint)
        body = {
            "input_ids": ids,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": start - 1,  # the first token that it returns has none
        }
        model = self._config.llm_judge_model
        answer = await post_json(
            self._open(), f"{_root(endpoint)}/generate", self._headers, body, where=where, model=model
        )
        try:
            entries = answer["meta_info"]["input_token_logprobs"][start - len(ids) :]
            logprobs = [float(entry[0]) for entry in entries]
            tokens = [int(entry[1]) for entry in entries]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _no_answer(f"{where} returned no log-probabilities of the prompt: {error!r}") from error
        if tokens != ids[start:]:
            raise _no_answer(f"{where} returned log-probabilities of other tokens than were sent")
        return answer_completion(ids, start, texts, logprobs)

    async def _tokenizer_name(self, endpoint: str) -> str:
        """Where an SGLang server has its tokenizer from; `OTHER_SERVER` where it is none. Asked once an endpoint."""
        async with self._asking[endpoint]:
            if endpoint not in self._tokenizers:
                self._tokenizers[endpoint] = await self._ask(endpoint)
            return self._tokenizers[endpoint]

    async def _ask(self, endpoint: str) -> str:
        url = f"{_root(endpoint)}/get_model_info"
        headers = {} if has_credentials(endpoint) else self._headers
        try:
            async with self._open().get(url, headers=headers, allow_redirects=False) as answer:
                known = await answer.json() if answer.status == 200 else {}
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            detail = f"no connection to {shown_url(endpoint)}: {error or type(error).__name__}"
            raise RequestFailed(FailureKind.UNREACHABLE, detail, retryable=True) from error
        except (aiohttp.ClientError, ValueError):
            return OTHER_SERVER
        return known.get("tokenizer_path") or known.get("model_path") or OTHER_SERVER

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session()
        return self._session


def _root(endpoint: str) -> str:
    return endpoint.removesuffix("/v1")


def _no_answer(detail: str) -> RequestFailed:
    return RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True)


def _encode(name: str, request: ChatRequest, template: dict[str, Any]) -> tuple[list[int], int, list[str]]:
    tokenizer = _tokenizer(name)
    ids, start = chat_tokens(tokenizer, request.messages, template)
    return ids, start, token_texts(tokenizer, ids[start:])


@lru_cache(maxsize=2)
def _tokenizer(name: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(
            f"{error}: the likelihood judge on SGLang needs a tokenizer; {install_line('local')}"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise JudgeUnusableError(
            f"the SGLang server has its tokenizer from {name}, which can't be loaded here; "
            "give the likelihood judge a copy at the same place, or a vLLM server"
        ) from error
