"""The transport without a server: the log-probabilities of a chat's last turn, from a model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.local_model import local_model
from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.rewards import Usage


class LocalTransport:
    """Shares the process's model with every other user of it."""

    def __init__(self, config: ClientConfig) -> None:
        self._model = local_model(config.llm_judge_model, config.judge_device, config.judge_dtype)

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Read one chat; see `Transport.complete`. Nothing is written: a request for a reply is refused."""
        if not request.reads_prompt:
            raise JudgeUnusableError("--judge_transport local reads prompts and writes no replies; use a server")
        ids, start, texts = await asyncio.wrap_future(self._model.encode(request))
        logprobs = await asyncio.wrap_future(self._model.read(ids, start))
        return answer_completion(ids, start, texts, logprobs)

    async def aclose(self) -> None:
        """Nothing to close: the model stays for the process."""


def answer_completion(ids: Sequence[int], start: int, texts: Sequence[str], logprobs: Sequence[float]) -> Completion:
    """What a transport answers that knows where the open last turn starts: only its tokens' log-probabilities."""
    entries = [
        {str(token): {"logprob": logprob, "decoded_token": text}}
        for token, text, logprob in zip(ids[start:], texts, logprobs, strict=True)
    ]
    return Completion(("",), ("stop",), Usage(len(ids), 0, 1), prompt_logprobs=entries, answer_length=len(entries))
