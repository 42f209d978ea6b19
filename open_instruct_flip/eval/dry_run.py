"""What a run would cost, before it costs anything: the same judges ask a client that only counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields

from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.eval.run import Pass, fault_of
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.rewards import FailureKind, Usage

CHARS_PER_TOKEN = 4
"""Of English text, roughly; what a chat template adds is not counted."""


async def count_requests(passes: Iterable[Pass], runs: int) -> dict[str, Usage]:
    """Requests that each judge sends, by its label, where each is answered at once, and their tokens.

    Prompt tokens are estimated from characters; completion tokens are the most that the replies may have.
    """
    totals: defaultdict[str, Usage] = defaultdict(Usage)
    for one in passes:
        counter = _Counter(one.contender.judge.client.config)
        judge = _asking(one.contender.judge, counter)
        for item in one.items:
            if fault_of(item, judge) is None:
                await judge.score(item.conversation, item.responses)
        for _ in range(one.contender.num_runs(runs)):
            totals[one.contender.label] += counter.usage
    return dict(totals)


def _asking(judge: Judge, client: JudgeClient) -> Judge:
    """The judge with another client; which replies its server can be made to give is not tried."""
    has_replies = "reply_contract" in {option.name for option in fields(judge.config)}
    return judge.remade(client, reply_contract="free") if has_replies else judge.remade(client)


class _Counter(JudgeClient):
    """A client that counts. Its answers fail, which no judge asks about again, or hold the one token asked for."""

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self.usage = Usage()

    async def complete(self, request: ChatRequest) -> Completion:
        chars = sum(len(message["content"]) for message in request.messages)
        self.usage += Usage(chars // CHARS_PER_TOKEN, request.n * request.max_tokens, 1)
        if not request.reads_prompt:
            raise RequestFailed(FailureKind.TIMEOUT, "nothing is sent in a dry run")
        answered = {str(hash(request.messages[-1]["content"])): {"logprob": -1.0}}
        return Completion(("",), ("length",), Usage(), prompt_logprobs=[None, {"0": {"logprob": -1.0}}, answered])
