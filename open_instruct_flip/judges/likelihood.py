"""Likelihood judge, beyond the paper: how likely does the judge's model hold the instruction, or the response?

The model writes nothing; it reads a chat whose last turn, the answer, is given, and the log-probabilities of that
turn's tokens are the verdict. Backward (`--likelihood_target instruction`), the chat asks which instruction led to the
response, and the true instruction is the answer. Forward (`response`), the chat is the conversation itself, and the
response the answer.

With l the answer's log-probabilities in nats, and l0 those of the same tokens after the same chat in which no response
(forward: no instruction) is shown, `--normalise` makes of them, each rising with l:

    pmi    logistic(mean l - mean l0)     0.5 where what is shown says nothing of the answer (as in MIPO, arXiv
                                          2603.19294), 0.73 for a gain of one nat per token, 0.88 for two
    mean   exp(mean l)                    the geometric mean of the tokens' probabilities
    sum    1 / (1 - sum l / 100)          0.5 at -100 nats: longer answers are less likely
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from statistics import fmean
from typing import Any, Literal, get_args

from open_instruct_flip.client.answers import Answer, AnswerReader, Token
from open_instruct_flip.client.kept import Kept
from open_instruct_flip.client.request import Completion, RequestFailed
from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import HiddenInstruction, Message, Target, hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge, failed_request, shared_by_twins
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.group import split_usage
from open_instruct_flip.judges.prompt import PromptFiles, PromptTemplate
from open_instruct_flip.judges.shortening import fitted
from open_instruct_flip.rewards import FailureKind, ReadToken, Reward, Usage

LikelihoodTarget = Literal["instruction", "response"]
Normalise = Literal["pmi", "mean", "sum"]

NO_RESPONSE = "(no response is shown)"
"""Stands in the response's place for the log-probability without it."""
NO_INSTRUCTION = "(no instruction is shown)"
"""Stands in the instruction's place for the log-probability without it."""
PRIORS_KEPT = 4096
HALF_AT_NATS = 100.0
CONVERSATION = PromptTemplate("", "")
"""Forward there is no prompt, only foreign text that must not start another turn."""
_GONE = frozenset({FailureKind.UNREACHABLE, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT})
"""After these, a server may be another one."""


@dataclass(frozen=True)
class LikelihoodConfig(JudgeConfig):
    """Options of the likelihood judge."""

    flip_target: Target = field(
        default="last_user",
        metadata={"help": "What is inferred: the last user turn, or the system prompt (the paper's reading)"},
    )
    likelihood_target: LikelihoodTarget = field(
        default="instruction",
        metadata={"help": "Whose log-probability counts: the instruction's given the response, or the other way round"},
    )
    normalise: Normalise = field(
        default="pmi",
        metadata={
            "help": "Of the log-probabilities: their mean less that without the response (forward: without the "
            "instruction), their mean, or their sum"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("likelihood_target", LikelihoodTarget), ("normalise", Normalise)):
            if getattr(self, name) not in get_args(known):
                raise UsageError(f"--{name} is one of {', '.join(get_args(known))}, got {getattr(self, name)!r}")
        if self.forward and (self.flip_target != "last_user" or self.prompt_dir):
            given = "--prompt_dir" if self.prompt_dir else f"--flip_target {self.flip_target}"
            raise UsageError(f"--likelihood_target response asks no question: leave {given} out")

    @property
    def forward(self) -> bool:
        """Whether the response is the answer."""
        return self.likelihood_target == "response"


class LikelihoodJudge(Judge):
    """Reward from how likely the instruction is given the response, or the other way round; see `Judge` for arguments.

    Needs a server that returns a prompt's log-probabilities (vLLM, SGLang), or the model in this process. Each distinct
    response is one request of one token, forward with pmi two. What an instruction has without a response is asked
    once and kept. An empty response says nothing of its instruction: 0.0, as with FLIP.

    Attributes:
        sees_instruction: The class says False, since its usual prompt holds none and a dataset's ground truth has to be
            the instruction itself. A judge made with `likelihood_target="response"` says True.
    """

    name = "likelihood"
    config_class = LikelihoodConfig
    config: LikelihoodConfig
    sees_instruction = False
    runs_in_process = True

    def check(self) -> None:
        super().check()
        self.sees_instruction = self.config.forward
        thinking = {"chat_template_kwargs": {"enable_thinking": self.config.thinking}}
        self._reader = AnswerReader(self.client, self.config.seed, thinking)
        self._priors: Kept[Answer] = Kept(PRIORS_KEPT)

    def prompt_files(self) -> PromptFiles | None:
        if self.config.forward:
            return None
        name = "likelihood_system_target" if self.config.flip_target == "system" else "likelihood"
        return PromptFiles(name, frozenset({"response"}))

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        if hide_instruction(conversation, self.target).instruction.strip():
            return None
        return Reward(
            error=FailureKind.UNSCORABLE_INSTRUCTION, detail="the instruction is empty; drop it from the dataset"
        )

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        distinct = list(dict.fromkeys(responses))
        if self.config.forward:
            judged = await together(self._forward(conversation, response) for response in distinct)
        else:
            judged = await self._backward(hide_instruction(conversation, self.target), distinct)
        return shared_by_twins(responses, dict(zip(distinct, judged, strict=True)))

    async def _backward(self, hidden: HiddenInstruction, responses: Sequence[str]) -> list[Reward]:
        """Distinct responses by their instruction's likelihood. They share the cost of what it has without them."""
        turns = self.prompt.conversation(hidden.context)
        answer = self.prompt.defuse(hidden.instruction.strip())

        def chat(response: str) -> list[Message]:
            return self.prompt.messages(conversation=turns, response=response)

        try:
            prior, new = await self._priors.get((turns, answer), lambda: self._whole(chat(NO_RESPONSE), answer))
        except RequestFailed as error:
            self._forget_priors(error)
            failed = failed_request(error)
            return [replace(failed, usage=share) for share in split_usage(failed.usage, len(responses))]
        rewards = await together(self._given(chat, response, answer, prior) for response in responses)
        shares = split_usage(prior.usage if new else Usage(), len(responses))
        return [replace(reward, usage=reward.usage + share) for reward, share in zip(rewards, shares, strict=True)]

    async def _whole(self, chat: Sequence[Message], answer: str, length: int | None = None) -> Answer:
        """An answer's tokens, with all that they cost."""
        completion = await self._reader.ask(chat, answer)
        found = await self._reader.tokens(completion, chat, answer, length)
        return Answer(found.tokens, completion.usage + found.usage)

    async def _given(self, chat: Callable[[str], list[Message]], response: str, answer: str, prior: Answer) -> Reward:
        """A response's reward from the instruction's likelihood in the chat that shows it."""

        async def send(text: str) -> Completion:
            return await self._reader.ask(chat(text), answer)

        try:
            completion, (truncated,) = await fitted(send, [response], self.config.max_response_chars)
            found = await self._reader.tokens(completion, chat(response), answer, len(prior.tokens))
        except RequestFailed as error:
            self._forget_priors(error)
            return failed_request(error)
        return self._reward(found, prior, completion, completion.usage, truncated)

    def _forget_priors(self, error: RequestFailed) -> None:
        """A server that was gone may come back with another model under the same name."""
        if error.kind in _GONE:
            self._priors.forget()

    async def _forward(self, conversation: Sequence[Message], response: str) -> Reward:
        """A response's reward from its own likelihood."""
        chat = [Message(role=turn["role"], content=CONVERSATION.defuse(turn["content"])) for turn in conversation]
        answer = ""

        async def send(text: str) -> Completion:
            nonlocal answer
            answer = CONVERSATION.defuse(text.strip())
            return await self._reader.ask(chat, answer)

        try:
            completion, (truncated,) = await fitted(send, [response], self.config.max_response_chars)
            found = await self._reader.tokens(completion, chat, answer)
            prior = await self._without_instruction(chat, answer, found)
        except RequestFailed as error:
            return failed_request(error)
        usage = completion.usage + found.usage + prior.usage
        return self._reward(found, prior, completion, usage, truncated)

    async def _without_instruction(self, chat: Sequence[Message], answer: str, found: Answer) -> Answer:
        if self.config.normalise != "pmi":
            return Answer(found.tokens)
        return await self._whole([*chat[:-1], {**chat[-1], "content": NO_INSTRUCTION}], answer, len(found.tokens))

    def _reward(self, found: Answer, prior: Answer, completion: Completion, usage: Usage, truncated: bool) -> Reward:
        seen: dict[str, Any] = {"usage": usage, "latency_s": completion.latency_s, "truncated": truncated}
        if [token.token_id for token in found.tokens] != [token.token_id for token in prior.tokens]:
            what = "response" if self.config.forward else "instruction"
            detail = f"the judge's prompt does not end with the {what}; its chat template cuts or moves the answer"
            return Reward(error=FailureKind.UNREADABLE_REPLY, detail=detail, **seen)
        counted = [*found.tokens, *prior.tokens] if self.config.normalise == "pmi" else found.tokens
        odd = next((token for token in counted if not math.isfinite(token.logprob)), None)
        if odd is not None:
            detail = f"the server gave token {odd.token_id} {odd.text!r} the log-probability {odd.logprob}"
            return Reward(error=FailureKind.SERVER_ERROR, detail=detail, **seen)
        score = normalised(found.tokens, prior.tokens, self.config.normalise)
        return Reward(score=score, tokens=self._read(found.tokens, prior.tokens), **seen)

    def _read(self, tokens: Sequence[Token], prior: Sequence[Token]) -> list[ReadToken] | None:
        """What a reward keeps of the answer's tokens."""
        if not any(token.text for token in tokens):
            return None
        without = [token.logprob for token in prior] if self.config.normalise == "pmi" else repeat(None)
        return [ReadToken(token.text, token.logprob, known) for token, known in zip(tokens, without, strict=False)]


def normalised(tokens: Sequence[Token], prior: Sequence[Token], how: Normalise) -> float:
    """The reward of an answer's tokens, in [0, 1]; see the module's text."""
    logprobs = [token.logprob for token in tokens]
    if how == "sum":
        return HALF_AT_NATS / (HALF_AT_NATS - min(sum(logprobs), 0.0))
    if how == "mean":
        return min(math.exp(fmean(logprobs)), 1.0)
    return logistic(fmean(logprobs) - fmean(token.logprob for token in prior))


def logistic(gain: float) -> float:
    """A gain in nats per token as a reward: 0.5 for no gain, rising from 0 to 1; never overflows."""
    return 0.5 + 0.5 * math.tanh(gain / 2)
