"""A judge model whose answers a test decides: the one fake of these tests, where requests leave the judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.conversation import Message
from open_instruct_flip.rewards import Usage

ENDPOINT: dict[str, Any] = {"model": "hosted_vllm/judge", "api_base": "http://127.0.0.1:9/v1"}
FORCED: dict[str, Any] = {**ENDPOINT, "reply_contract": "schema"}
FREE: dict[str, Any] = {**ENDPOINT, "reply_contract": "free"}
"""For judges whose first request is to be the question itself."""
CONVERSATION: list[Message] = [{"role": "user", "content": "Explain soil."}]


class ScriptedModel:
    """Answers requests with what `answer` makes of them: a text, several, a whole completion, or an exception raised.

    Attributes:
        requests: All that came in.
    """

    def __init__(self) -> None:
        self.answer: Callable[[ChatRequest], str | Sequence[str] | Completion] = lambda request: ""
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)
        answer = self.answer(request)
        if isinstance(answer, Completion):
            return answer
        texts = (answer,) if isinstance(answer, str) else tuple(answer)
        return Completion(texts, ("stop",) * len(texts), Usage(101, 7, 1), latency_s=0.5)

    def shown(self, number: int = -1) -> str:
        """The user message of a request."""
        return str(next(m["content"] for m in self.requests[number].messages if m["role"] == "user"))
