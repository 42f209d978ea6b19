"""Likelihood judge, beyond the paper: how much likelier does the response make its own instruction?

The judge model writes nothing. vLLM returns the log-probabilities of a prompt's tokens, and the prompt ends with
the instruction as the assistant's answer to "which instruction led to this response?". The reward is

    logistic(gain),  gain = mean log p(instruction | response) - mean log p(instruction | no response)

in nats per token of the instruction: 0.5 where the response says nothing of its instruction, so that an instruction
that is likely anyway gains nothing (as in MIPO, arXiv 2603.19294), and 0.88 where each token is e^2 times likelier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from statistics import fmean
from typing import Any, NamedTuple

from open_instruct_flip.client.request import CONTINUED_TURN, ChatRequest, Completion, RequestFailed
from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import HiddenInstruction, Message, Target, hide_instruction
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judges.base import Judge, failed_request, shared_by_twins
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.group import split_usage
from open_instruct_flip.judges.prompt import PromptFiles
from open_instruct_flip.judges.shortening import fitted
from open_instruct_flip.rewards import FailureKind, Reward, Usage

NO_RESPONSE = "(no response is shown)"
"""Stands in the response's place for the log-probability without it."""
PROMPT_LOGPROBS = {"prompt_logprobs": 0, **CONTINUED_TURN}
"""Asks vLLM for the prompt's own tokens only, with the last message left open: no end-of-turn token follows it."""


class Token(NamedTuple):
    """A prompt's token and its natural log-probability given those before it."""

    token_id: int
    logprob: float


class Baseline(NamedTuple):
    """The instruction's tokens without a response, and what it took to know them."""

    tokens: Sequence[Token]
    usage: Usage


@dataclass(frozen=True)
class LikelihoodConfig(JudgeConfig):
    """Options of the likelihood judge."""

    flip_target: Target = field(
        default="last_user",
        metadata={"help": "What is inferred: the last user turn, or the system prompt (the paper's reading)"},
    )


class LikelihoodJudge(Judge):
    """Reward from the gain in log-likelihood that a response brings its instruction; see `Judge` for the arguments.

    Needs a vLLM server (`hosted_vllm/...`). Each distinct response is one request of one token, and each group two
    more, whose cost its responses share. An empty response says nothing of its instruction: 0.0, as with FLIP.
    """

    name = "likelihood"
    config_class = LikelihoodConfig
    config: LikelihoodConfig
    sees_instruction = False

    def prompt_files(self) -> PromptFiles:
        name = "likelihood_system_target" if self.config.flip_target == "system" else "likelihood"
        return PromptFiles(name, frozenset({"response"}))

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        if hide_instruction(conversation, self.target).instruction.strip():
            return None
        return Reward(
            error=FailureKind.UNSCORABLE_INSTRUCTION, detail="the instruction is empty; drop it from the dataset"
        )

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        hidden = hide_instruction(conversation, self.target)
        distinct = list(dict.fromkeys(responses))
        judged = await self._gains(hidden, distinct)
        return shared_by_twins(responses, dict(zip(distinct, judged, strict=True)))

    async def _gains(self, hidden: HiddenInstruction, responses: Sequence[str]) -> list[Reward]:
        """Judge distinct responses with something in them."""
        try:
            baseline = await self._baseline(hidden)
        except RequestFailed as error:
            failed = failed_request(error)
            return [replace(failed, usage=share) for share in split_usage(failed.usage, len(responses))]
        rewards = await together(self._gain(hidden, response, baseline.tokens) for response in responses)
        shares = split_usage(baseline.usage, len(responses))
        return [replace(reward, usage=reward.usage + share) for reward, share in zip(rewards, shares, strict=True)]

    async def _baseline(self, hidden: HiddenInstruction) -> Baseline:
        """The instruction's tokens after the prompt without a response.

        Where they start is found by a second answer that begins with another character: the two prompts are equal
        up to there. That is exact for any tokenizer and chat template.
        """
        other = "?" if hidden.instruction.strip().startswith(".") else "."
        (known, _), (probe, _) = await together(
            [
                self._ask_how_likely(hidden.context, NO_RESPONSE, hidden.instruction),
                self._ask_how_likely(hidden.context, NO_RESPONSE, other),
            ]
        )
        tokens, others = self._tokens(known), self._tokens(probe)
        both = zip(tokens, others, strict=False)
        start = sum(1 for _ in takewhile(lambda pair: pair[0].token_id == pair[1].token_id, both))
        if not tokens[start:]:
            raise JudgeUnusableError(
                f"{self.client.config.llm_judge_model} has a chat template that leaves the assistant's last turn out; "
                "the likelihood judge can't use it"
            )
        return Baseline(tokens[start:], known.usage + probe.usage)

    async def _gain(self, hidden: HiddenInstruction, response: str, without: Sequence[Token]) -> Reward:
        try:
            completion, truncated = await self._ask_how_likely(hidden.context, response, hidden.instruction)
        except RequestFailed as error:
            return failed_request(error)
        seen: dict[str, Any] = {
            "usage": completion.usage,
            "latency_s": completion.latency_s,
            "truncated": truncated,
        }
        given = self._tokens(completion)[-len(without) :]
        if [token.token_id for token in given] != [token.token_id for token in without]:
            detail = "the judge's prompt does not end with the instruction; its chat template cuts or moves the answer"
            return Reward(error=FailureKind.UNREADABLE_REPLY, detail=detail, **seen)
        gain = fmean(token.logprob for token in given) - fmean(token.logprob for token in without)
        return Reward(score=logistic(gain), **seen)

    async def _ask_how_likely(
        self, context: Sequence[Message], response: str, instruction: str
    ) -> tuple[Completion, bool]:
        prompt = self.prompt
        turns = prompt.conversation(context)
        answer: Message = {"role": "assistant", "content": prompt.defuse(instruction.strip())}

        async def send(text: str) -> Completion:
            messages = [*prompt.messages(conversation=turns, response=text), answer]
            return await self.client.complete(self._request(messages))

        completion, (truncated,) = await fitted(send, [response], self.config.max_response_chars)
        return completion, truncated

    def _request(self, messages: Sequence[Message]) -> ChatRequest:
        switch = {"chat_template_kwargs": {"enable_thinking": self.config.thinking}}
        return ChatRequest(messages, max_tokens=1, seed=self.config.seed, extra_body={**switch, **PROMPT_LOGPROBS})

    def _tokens(self, completion: Completion) -> list[Token]:
        """The prompt's tokens but for the first, which has no log-probability."""
        if not completion.prompt_logprobs:
            raise JudgeUnusableError(
                f"{self.client.config.llm_judge_model} returned no prompt_logprobs; the likelihood judge needs a vLLM "
                "server, named as hosted_vllm/<served name>"
            )
        of_each = (next(iter(token.items())) for token in completion.prompt_logprobs if token)
        return [Token(int(token_id), float(entry["logprob"])) for token_id, entry in of_each]


def logistic(gain: float) -> float:
    """A gain in nats per token as a reward: 0.5 for no gain, rising from 0 to 1; never overflows."""
    return 0.5 + 0.5 * math.tanh(gain / 2)
