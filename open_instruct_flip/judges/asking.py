"""Judges whose model writes a reply: what is sent, how the reply is read, and what is left where it can't be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

from open_instruct_flip.client.config import HOSTED_VLLM
from open_instruct_flip.client.request import CONTINUED_TURN, ChatRequest, Completion, RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig, ReplyConfig
from open_instruct_flip.judges.contract import Contract, ReplyForm, settled
from open_instruct_flip.judges.reply import UnreadableReply, without_quotations
from open_instruct_flip.judges.shortening import fitted
from open_instruct_flip.rewards import REQUEST_FAILURES, FailureKind, Reward, Usage

Reading = TypeVar("Reading")

OTHER_CONTRACT: dict[Contract, Contract] = {"prefill": "schema", "schema": "free", "free": "schema"}
"""How a question is asked again whose first reply could not be read."""
UNFINISHED = frozenset({"length", "content_filter", "repetition"})
"""Finish reasons of a reply that somebody else has ended."""
FORCED_VALUE = "structured_outputs"
"""Field of vLLM's body (0.11 and later) that forces what is written; servers that do not know it pass it over."""
IN_ANOTHER_FORM = "\n\nAnswer with the JSON object alone."
"""Ends the question when it is asked again: where the server knows one contract only, it differs in this at least."""
SAMPLE_CONVERSATION: list[Message] = [
    {"role": "system", "content": "Answer in one short sentence."},
    {"role": "user", "content": "Name the capital of France and a river that flows through it."},
]
SAMPLE_RESPONSES = ("The capital of France is Paris, and the Seine flows through it.", "Paris; the Seine.")
_UNREAD = frozenset({FailureKind.UNREADABLE_REPLY, FailureKind.EMPTY_REPLY})


@dataclass(frozen=True, slots=True)
class Question(Generic[Reading]):
    """One question to the judge's model.

    Attributes:
        responses: The responses that it shows; only they are ever shortened.
        build_messages: Makes the chat, called with the responses as they fit.
        read: Reads one reply; raises UnreadableReply.
        form: The JSON object that the reply is; None where it is free text.
        last_words: What the question ends with.
        reworded: The question in other words, to be asked under an opened turn where no line could be read.
    """

    responses: Sequence[str]
    build_messages: Callable[..., list[Message]]
    read: Callable[[str], Reading]
    form: ReplyForm | None = None
    last_words: str = ""
    reworded: Question[Reading] | None = None

    def again(self, contract: Contract) -> tuple[Question[Reading], Contract]:
        """What is asked where no reply under this contract could be read, and under which contract.

        A model that was to end a line has kept the form; its words were empty or the prompt's own. Other words help it,
        and another form does not.
        """
        if self.reworded is not None and contract == "prefill":
            return self.reworded, contract
        return replace(self, last_words=IN_ANOTHER_FORM), OTHER_CONTRACT[contract]


@dataclass(frozen=True, slots=True)
class Asked(Generic[Reading]):
    """What came of one question about one or more responses.

    Attributes:
        readings: What could be read, one entry per readable reply; empty where the question failed.
        failure: The `error` and `detail` of the rewards where it failed; empty where something could be read.
        usage: What it cost.
        latency_s: Seconds that the last request took.
        reply: The first reply, or None.
        cut: For each response, whether its middle was cut out to fit.
    """

    readings: Sequence[Reading]
    failure: dict[str, Any]
    usage: Usage
    latency_s: float = 0.0
    reply: str | None = None
    cut: Sequence[bool] = ()

    def reward(self, number: int = 0, **verdict: Any) -> Reward:
        """The reward of the question's response of this number: the verdict, or the question's failure."""
        return Reward(
            **(self.failure or verdict),
            usage=self.usage,
            latency_s=self.latency_s,
            reply=self.reply,
            truncated=bool(self.cut) and self.cut[number],
        )


class ReplyJudge(Judge):
    """A judge whose model writes a reply. `ask` sends a question and reads what comes back.

    Attributes:
        writes_text: Whether a reply is running text, which may have words of the response in it; else it is a grade, a
            choice or a list, and what it quotes of the response is not read.
    """

    writes_text: ClassVar[bool] = False
    config_class: ClassVar[type[JudgeConfig]] = ReplyConfig
    config: ReplyConfig

    def question(self, conversation: Sequence[Message], responses: Sequence[str]) -> Question[Any]:
        """What the model is asked about responses to a conversation: about one, or a comparison."""
        raise NotImplementedError(f"the {self.name} judge asks its model nothing")

    def check(self) -> None:
        super().check()
        if self.asks_model and self.config.reply_contract == "prefill" and not self.client.config.hosted:
            raise UsageError(
                f"--reply_contract prefill needs a server that continues a turn, {HOSTED_VLLM}<name>: "
                f"{self.client.config.llm_judge_model} is sent no opened turns; leave it at auto"
            )

    def as_asked(self, form: ReplyForm) -> ReplyForm:
        """A form as this judge is configured: with a sentence of reasoning before the value, or the value alone."""
        return form.with_reasoning() if self.config.reasoning else form

    async def ask(self, question: Question[Reading]) -> Asked[Reading]:
        """Ask a question, and once more in other words or another form where no reply to it can be read.

        Raises:
            JudgeUnusableError: No request to this judge can succeed.
        """
        try:
            contract = await self.contract()
        except RequestFailed as error:
            return _failed(error)
        first = await self._ask_once(question, contract)
        if first.failure.get("error") not in _UNREAD:
            return first
        second = await self._ask_once(*question.again(contract))
        # Only a server that takes requests has refused the other form; other failed calls say nothing of the response.
        lost = second.failure.get("error") in REQUEST_FAILURES - {FailureKind.REJECTED}
        return replace(second if lost or not second.failure else first, usage=first.usage + second.usage)

    async def contract(self) -> Contract:
        """How this judge's replies are made readable: as configured, else as its server proves to keep.

        Raises:
            RequestFailed: The server could not be asked.
        """
        if self._sample().form is None:
            return "free"
        if self.config.reply_contract != "auto":
            return self.config.reply_contract
        if self.config.thinking:  # an opened turn and a forced form leave no room for thought
            return "free"
        key = (self.client.config, type(self), self.config)
        return await settled(key, f"{self.name} judge {self.client.config.llm_judge_model}", self._keeps)

    async def settled(self) -> Self:
        return self.remade(reply_contract=await self.contract()) if self.asks_model else self

    async def _keeps(self, contract: Contract) -> bool:
        """Whether the server keeps a contract: tried on a sample."""
        sample = self._sample()
        if contract == "prefill" and not await self._continues_turns():
            return False
        completion, _ = await self._send(sample, contract)
        try:
            for text, end in zip(completion.texts, completion.finish_reasons, strict=True):
                sample.read(_reply(text, end, sample.form, contract))
        except UnreadableReply:
            return False
        return contract != "schema" or sample.form is None or _is_exactly(completion.texts[0], sample.form)

    async def _continues_turns(self) -> bool:
        """Whether the server goes on with an assistant's turn that was begun, instead of starting another."""
        if not self.client.config.hosted:
            return False
        begun = '{"city": "Par'
        chat: list[Message] = [
            {"role": "user", "content": 'Copy this line: {"city": "Paris"}'},
            {"role": "assistant", "content": begun},
        ]
        completion = await self.client.complete(ChatRequest(chat, max_tokens=4, extra_body=self._body(continued=True)))
        copied = (begun + completion.texts[0].removeprefix(begun)).startswith('{"city": "Paris')
        return copied or await self._leaves_turn_open(chat)

    async def _leaves_turn_open(self, chat: list[Message]) -> bool:
        """Whether a prompt with a begun turn is shorter than with that turn ended: so of a model that can't copy."""
        body = self._body(continued=True)
        lengths = []
        for sent in (body, {**body, "continue_final_message": False}):
            # A temperature keeps the answer out of the cache, which knows no lengths.
            completion = await self.client.complete(ChatRequest(chat, max_tokens=1, temperature=1.0, extra_body=sent))
            lengths.append(completion.usage.prompt_tokens)
        return 0 < lengths[0] < lengths[1]

    def _sample(self) -> Question[Any]:
        return self.question(SAMPLE_CONVERSATION, SAMPLE_RESPONSES if self.compares_group else SAMPLE_RESPONSES[:1])

    async def _ask_once(self, question: Question[Reading], contract: Contract) -> Asked[Reading]:
        try:
            completion, cut = await self._send(question, contract)
        except RequestFailed as error:
            return _failed(error)
        readings, unread = [], []
        for text, end in zip(completion.texts, completion.finish_reasons, strict=True):
            try:
                reply = _reply(text, end, question.form, contract)
                # A verdict that stands in a response is the response's, not the judge's.
                own = reply if self.writes_text else without_quotations(reply, question.responses)
                readings.append(question.read(own))
            except UnreadableReply as error:
                unread.append(error)
        failure = {} if readings else self._unreadable(unread[0], completion)
        turn = _opening(question.form, contract) + completion.texts[0]
        return Asked(readings, failure, completion.usage, completion.latency_s, turn, cut)

    async def _send(self, question: Question[Any], contract: Contract) -> tuple[Completion, list[bool]]:
        """The answer to a question, its texts without what was sent, and which responses were shortened."""

        async def send(*texts: str) -> Completion:
            return await self._complete(question, texts, contract)

        return await fitted(send, question.responses, self.config.max_response_chars)

    async def _complete(self, question: Question[Any], texts: Sequence[str], contract: Contract) -> Completion:
        request = self.request(question.build_messages(*texts), question.form, contract, question.last_words)
        completion = await self.client.complete(request)
        if len(completion.texts) < request.n:
            raise JudgeUnusableError(
                f"the judge gave {len(completion.texts)} of the {request.n} replies asked for: its server ignores n, "
                "as `transformers serve` does; use vLLM, or --num_samples 1"
            )
        opening = _opening(question.form, contract)
        asked = next(turn["content"] for turn in reversed(request.messages) if turn["role"] == "user")
        replies = (_own_words(text, asked).removeprefix(opening) for text in completion.texts)
        return replace(completion, texts=tuple(replies))

    def request(
        self, messages: list[Message], form: ReplyForm | None, contract: Contract, last_words: str = ""
    ) -> ChatRequest:
        """A chat with this judge's sampling settings, its reply under a contract."""
        config = self.config
        opened = form is not None and contract == "prefill"
        *before, last = messages
        demand = form.demanded(is_opened=opened) if form is not None else ""
        messages = [*before, {"role": last["role"], "content": f"{last['content']}{demand}{last_words}"}]
        if form is not None and opened:
            messages.append({"role": "assistant", "content": form.opening})
        return ChatRequest(
            messages,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            n=config.num_samples,
            seed=config.seed,
            stop=form.stop if form is not None and opened else (),
            response_format=form.response_format() if form is not None and contract == "schema" else None,
            extra_body=self._body(continued=opened, pattern=form.pattern if form is not None else ""),
        )

    def _body(self, *, continued: bool, pattern: str = "") -> dict[str, Any]:
        # The switch of Qwen3 and its kind; templates without it ignore the field.
        switch = {"chat_template_kwargs": {"enable_thinking": self.config.thinking}}
        if not continued:
            return switch
        return {**switch, **CONTINUED_TURN, **({FORCED_VALUE: {"regex": pattern}} if pattern else {})}

    def _unreadable(self, error: UnreadableReply, completion: Completion) -> dict[str, Any]:
        """The error of a reward whose replies could not be read."""
        spoke = any(text.strip() for text in completion.texts)
        cut = f"; cut off at max_tokens={self.config.max_tokens}" if "length" in completion.finish_reasons else ""
        kind = FailureKind.UNREADABLE_REPLY if spoke else FailureKind.EMPTY_REPLY
        return {"error": kind, "detail": f"{error}{cut}"}


def _failed(error: RequestFailed) -> Asked[Any]:
    return Asked([], {"error": error.kind, "detail": error.detail}, Usage(requests=error.requests))


def _opening(form: ReplyForm | None, contract: Contract) -> str:
    """What the judge's turn was opened with."""
    return form.opening if form is not None and contract == "prefill" else ""


def _reply(text: str, finish_reason: str, form: ReplyForm | None, contract: Contract) -> str:
    """The reply to be read, from one text of a completion; raises UnreadableReply."""
    if form is None or not text.strip():
        return text
    return form.whole(text, is_opened=contract == "prefill", is_cut=finish_reason in UNFINISHED)


def _is_exactly(reply: str, form: ReplyForm) -> bool:
    """Whether a reply is the form's JSON object and nothing else."""
    try:
        value = json.loads(reply)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == list(form.schema)


def _own_words(reply: str, prompt: str) -> str:
    """A reply without the prompt before it, which some servers return along: a response could speak for the judge."""
    return reply.rpartition(prompt)[2] if prompt else reply
