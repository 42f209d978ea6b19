"""What every judge is: a type that says what it needs and sees, and turns a group into rewards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from typing import Any, ClassVar, Self

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.conversation import Message, Target, hide_instruction
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.prompt import PromptFiles, PromptTemplate, load_prompt
from open_instruct_flip.rewards import Reward, Usage
from open_instruct_flip.similarity.copying import copy_rate, mask_copies
from open_instruct_flip.similarity.f1 import f1_score
from open_instruct_flip.thinking import final_answer


class Judge(ABC):
    """Turns a group, one conversation with n responses to it, into n rewards.

    Args:
        model: Judge model as litellm names it, such as "hosted_vllm/Qwen/Qwen3-4B".
        api_base: URL of its server, or several with commas; else `HOSTED_VLLM_API_BASE`.
        options: Any field of the judge's `config_class` and of `ClientConfig` by its name.

    Raises:
        UsageError: An option is unknown or its value can't work.

    Attributes:
        name: What commands and trainers call this judge.
        config_class: The dataclass with this judge's options.
        sees_instruction: Whether its prompt holds the instruction. FLIP's must not. Where that depends on an option,
            each judge says it of itself, and the class the stricter answer: False.
        infers_instruction: Whether its rewards hold the instruction that it has inferred.
        asks_model: Whether it sends requests; a judge of whose options that depends says it of itself.
        compares_group: Whether a reward depends on the group's other responses.
        runs_in_process: Whether it works with `--judge_transport local`, where nothing is written, only read.
        nothing_said: The reward of a response without an answer, which no judge is asked about.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[JudgeConfig]] = JudgeConfig
    sees_instruction: bool = True
    infers_instruction: ClassVar[bool] = False
    asks_model: bool = True
    compares_group: ClassVar[bool] = False
    runs_in_process: ClassVar[bool] = False
    nothing_said: ClassVar[Reward] = Reward(score=0.0, empty=True)

    config: JudgeConfig
    client: JudgeClient

    def __init__(self, model: str = "", api_base: str | None = None, **options: Any) -> None:
        of_client = {f.name for f in fields(ClientConfig)} - {"llm_judge_model", "api_base"}
        client = {name: options.pop(name) for name in of_client & options.keys()}
        self._configure(self.make_config(options), ClientConfig(llm_judge_model=model, api_base=api_base, **client))

    @classmethod
    def from_config(cls, config: JudgeConfig, client: ClientConfig | JudgeClient) -> Self:
        """A judge from its two configurations, or from its own and a client that it shares with others."""
        made = cls.__new__(cls)
        made._configure(config, client)
        return made

    @classmethod
    def from_options(cls, given: Mapping[str, Any], client: ClientConfig | JudgeClient) -> Self:
        """A judge from the options that somebody gave, the others at their defaults; see `make_config`."""
        return cls.from_config(cls.make_config(given), client)

    @classmethod
    def make_config(cls, given: Mapping[str, Any]) -> JudgeConfig:
        """This judge's configuration.

        Raises:
            UsageError: It has no such option, or it needs one that was not given.
        """
        refuse_foreign_options([cls], given)
        needed = [f.name for f in fields(cls.config_class) if f.default is MISSING and f.default_factory is MISSING]
        missing = _flags(name for name in needed if name not in given)
        if missing:
            raise UsageError(f"the {cls.name} judge needs {missing}")
        return cls.config_class(**given)

    @classmethod
    def own_options(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the given options that this judge has."""
        names = {f.name for f in fields(cls.config_class)}
        return {name: value for name, value in given.items() if name in names}

    @classmethod
    def label(cls) -> str:
        """The value of a dataset's `dataset` column that asks Open Instruct for this judge."""
        return f"general-{cls.name}"

    def _configure(self, config: JudgeConfig, client: ClientConfig | JudgeClient) -> None:
        reached = client if isinstance(client, ClientConfig) else client.config
        if reached.in_process and not self.runs_in_process:
            raise UsageError(
                f"the {self.name} judge needs a server: --judge_transport local is for the likelihood judge alone"
            )
        if self.asks_model and reached.judge_transport == "none":
            raise UsageError(f"the {self.name} judge asks a model: --judge_transport none is for judges that ask none")
        self.config = config
        self.client = JudgeClient(client) if isinstance(client, ClientConfig) else client
        self.check()

    def check(self) -> None:
        """Refuse what this judge can't work with, here and not at the first reward."""
        files = self.prompt_files()
        if files is not None:
            load_prompt(files, self.config.prompt_dir)

    def prompt_files(self) -> PromptFiles | None:
        """The files of this judge's prompt, or None where it has none."""
        return None

    @property
    def prompt(self) -> PromptTemplate:
        """This judge's prompt, from the package or from `prompt_dir`."""
        files = self.prompt_files()
        if files is None:
            raise NotImplementedError(f"the {self.name} judge has no prompt files")
        return load_prompt(files, self.config.prompt_dir)

    def prompt_texts(self) -> tuple[str, ...]:
        """The templates that this judge's rewards depend on."""
        return () if self.prompt_files() is None else self.prompt.texts()

    @property
    def target(self) -> Target:
        """Which turn counts as the instruction: the last user turn, unless the judge has an option for it."""
        return getattr(self.config, "flip_target", "last_user")

    async def score(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """Judge the responses to a conversation.

        Args:
            conversation: Turns of `{"role", "content"}` that end with the user turn that was answered.
            responses: The responses, as text. Their thinking sections are not judged: see `thinking.final_answer`.

        Returns:
            One reward per response, in order. Where the judge failed, its `score` is None and `error` says why.
            A response that says nothing, or under the copy guard "mask" nothing of its own, gets `nothing_said`
            without a request.

        Raises:
            UsageError: The conversation can't be judged.
            JudgeUnusableError: No request to this judge can succeed: no endpoint, unknown model, wrong key.
            FlipError: `score_group` did not give one reward per response.
        """
        instruction = hide_instruction(conversation, self.target).instruction
        if isinstance(responses, str):
            raise UsageError("responses is a list of texts, got a single text; pass [response]")
        for number, response in enumerate(responses):
            if not isinstance(response, str):
                raise UsageError(f"response {number} is no text but {type(response).__name__}")
        fault = self.fault(conversation, responses)
        if fault is not None:
            return [fault] * len(responses)
        answers = [final_answer(response) for response in responses]
        shown = [mask_copies(a, instruction) for a in answers] if self.config.copy_guard == "mask" else answers
        told = [answer for answer in shown if answer.strip()]
        judged = await self._judged(conversation, told) if told else []
        if len(judged) != len(told):
            raise FlipError(f"the {self.name} judge gave {len(judged)} rewards for {len(told)} responses")
        left = iter(judged)
        rewards = [next(left) if answer.strip() else self.nothing_said for answer in shown]
        of_answers = zip(rewards, answers, strict=True)
        return [self._compared(reward, answer, instruction) for reward, answer in of_answers]

    async def _judged(self, conversation: Sequence[Message], told: Sequence[str]) -> list[Reward]:
        """A group's rewards; a request that failed is a failure of all that was asked with it, its cost told once."""
        try:
            return await self.score_group(conversation, told)
        except RequestFailed as error:
            failed = failed_request(error)
            return [failed, *[replace(failed, usage=Usage())] * (len(told) - 1)]

    def _compared(self, reward: Reward, answer: str, instruction: str) -> Reward:
        """The reward with how much its response repeats the instruction; a guard may take the copies off its score."""
        rate, overlap = copy_rate(answer, instruction), f1_score(answer, instruction).f1
        score = reward.score
        if score is not None and self.config.copy_guard == "penalize":
            score *= 1.0 - rate
        return replace(reward, copy_rate=rate, overlap=overlap, score=score)

    @property
    def temperature(self) -> float:
        """At which its replies are drawn; 0.0 where it would say the same each time."""
        return getattr(self.config, "temperature", 0.0)

    async def settled(self) -> Self:
        """This judge with each option that is found out by trying its server set to what it turned out to be.

        Raises:
            RequestFailed: The server could not be asked.
        """
        return self

    def remade(self, client: ClientConfig | JudgeClient | None = None, **options: Any) -> Self:
        """This judge with other options, or with another client."""
        return self.from_config(replace(self.config, **options), self.client if client is None else client)

    def options(self) -> dict[str, Any]:
        """The options by name, as plain values."""
        return asdict(self.config)

    def score_sync(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """`score` for code without an event loop, and for notebooks."""
        return run_sync(self.score(conversation, responses))

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        """The failure of every response where this input can't be judged, or None where it can."""
        return None

    @abstractmethod
    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        """Judge checked input: a conversation, and responses that say something.

        Raises:
            RequestFailed: None of them could be judged; `score` makes failed rewards of it.
        """

    async def aclose(self) -> None:
        """Close the judge's connections on the running event loop; they also close with the loop itself."""
        await self.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def refuse_foreign_options(judges: Sequence[type[Judge]], given: Iterable[str]) -> None:
    """Raise UsageError for a given option that none of these judges has."""
    had = list(dict.fromkeys(option.name for judge in judges for option in fields(judge.config_class)))
    foreign = _flags(sorted(set(given).difference(had)))
    if foreign and not judges:
        raise UsageError(f"no judge is asked that has {foreign}: leave it out")
    if foreign:
        names = " and ".join(judge.name for judge in judges)
        subject = f"the {names} judge has" if len(judges) == 1 else f"the judges {names} have"
        raise UsageError(f"{subject} no {foreign}: leave it out; there are {_flags(had)}")


def _flags(names: Iterable[str]) -> str:
    return ", ".join(f"--{name}" for name in names)


def failed_request(error: RequestFailed) -> Reward:
    """The reward that a failed request leaves: none, with its reason."""
    return Reward(error=error.kind, detail=error.detail, usage=Usage(requests=error.requests))


def shared_by_twins(responses: Sequence[str], judged: Mapping[str, Reward]) -> list[Reward]:
    """A group's rewards from those of its distinct responses; identical ones share a verdict, whose cost one bears."""
    rewards, seen = [], set()
    for response in responses:
        reward = judged[response]
        rewards.append(replace(reward, duplicate=True, usage=Usage(), latency_s=0.0) if response in seen else reward)
        seen.add(response)
    return rewards
