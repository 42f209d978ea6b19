"""What judges send, counted without a model: a transport takes their requests, counts tokens and answers at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from open_instruct_flip.client.chat_tokens import chat_tokens
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.connections import share
from open_instruct_flip.client.request import ChatRequest, Completion
from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import Usage

Group = tuple[str, list[str]]
"""An instruction and responses to it."""


class CountingTransport:
    """Answers each request with a reply that any judge can read, and its prompt's tokens as usage.

    Args:
        tokenizer: One of transformers, with a chat template.
        size: Responses in each group.
    """

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer = tokenizer
        verdicts = {"instruction": "do it", "score": 7, "winner": "A", "ranking": list(range(1, size + 1))}
        self._reply = json.dumps(verdicts)

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Count one request; see `Transport.complete`."""
        if request.reads_prompt:
            ids, start = chat_tokens(self._tokenizer, request.messages, {})
            logprobs = [{token: {"logprob": -1.0}} for token in ids]
            return Completion(("",), ("length",), Usage(len(ids), 0, 1), 0.0, logprobs, len(ids) - start)
        text = self._tokenizer.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
        return Completion((self._reply,), ("stop",), Usage(_length(self._tokenizer, text), 0, 1))

    async def aclose(self) -> None:
        """Nothing is open."""


async def counted(judge: str, groups: Iterable[Group], tokenizer: Any, size: int) -> Usage:
    """What a judge sends to judge groups of a size: requests, and tokens of their prompts.

    Raises:
        RuntimeError: A judgement failed, so that what was sent is not what a judge sends.
    """
    config = ClientConfig("hosted_vllm/counted", "http://counted/v1", judge_transport="direct")
    options = {} if judge == "likelihood" else {"reply_contract": "free"}
    connections = share(config, CountingTransport(tokenizer, size))
    asking = judge_class(judge).from_options(options, config)
    used = Usage()
    for instruction, responses in groups:
        for reward in await asking.score([Message(role="user", content=instruction)], responses):
            if reward.score is None:
                raise RuntimeError(f"the {judge} judge failed on {instruction[:80]!r}: {reward.detail}")
            used += reward.usage
    await connections.aclose()
    return used


def mean_tokens(texts: Iterable[str], tokenizer: Any) -> float:
    """Tokens of a text, on average."""
    lengths = [_length(tokenizer, text) for text in texts]
    return sum(lengths) / len(lengths)


def _length(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
