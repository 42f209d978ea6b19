"""What judging would cost, before it costs anything: the same judge asks a client that only counts."""

from __future__ import annotations

from dataclasses import fields

from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Usage

CHARS_PER_TOKEN = 4
"""Of English text, roughly. A character outside ASCII counts as a token; what a chat template adds is not counted."""


class CountingClient(JudgeClient):
    """A client that counts. Its answers fail, which no judge asks about again, or hold the one token asked for.

    Attributes:
        usage: Requests, prompt tokens estimated from characters, and the most tokens that the replies may have.
    """

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self.usage = Usage()

    async def complete(self, request: ChatRequest) -> Completion:
        tokens = estimated_tokens("".join(message["content"] for message in request.messages))
        self.usage += Usage(tokens, request.n * request.max_tokens, 1)
        if not request.reads_prompt:
            raise RequestFailed(FailureKind.TIMEOUT, "nothing is sent in a dry run")
        answered = {str(hash(request.messages[-1]["content"])): {"logprob": -1.0}}
        return Completion(("",), ("length",), Usage(), prompt_logprobs=[None, {"0": {"logprob": -1.0}}, answered])


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is, for want of the judge's tokenizer.

    Example:
        >>> estimated_tokens("Name three rivers."), estimated_tokens("三つの川の名前を挙げてください。")
        (4, 16)
    """
    others = len(text) - len(text.encode("ascii", "ignore"))
    return (len(text) - others) // CHARS_PER_TOKEN + others


def counted(judge: Judge) -> tuple[Judge, CountingClient]:
    """The judge with a client that counts; which replies its server can be made to give is not tried."""
    client = CountingClient(judge.client.config)
    has_replies = "reply_contract" in {option.name for option in fields(judge.config)}
    return (judge.remade(client, reply_contract="free") if has_replies else judge.remade(client)), client


def told(usage: Usage, prices: tuple[float, float] | None) -> str:
    """What was counted, in words; with what it costs where prices of a million tokens are known."""
    cost = "" if prices is None else f"; cost about: {usage.cost(prices):,.4f}"
    return (
        f"{usage.requests:,} requests, about {usage.prompt_tokens:,} prompt tokens, at most "
        f"{usage.completion_tokens:,} reply tokens{cost}; a reply that can't be read is asked for once more"
    )
