import asyncio
import dataclasses
from abc import ABC, abstractmethod
from typing import Any

from open_instruct.judge_utils import EXTRACTOR_MAP, JUDGE_PROMPT_MAP


@dataclasses.dataclass
class VerificationResult:
    score: float
    cost: float = 0.0
    reasoning: str | None = None


@dataclasses.dataclass
class VerifierConfig:
    @classmethod
    def from_args(cls, *sources):
        """Fields by name, a later source wins."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(**{n: getattr(s, n) for s in sources if s is not None for n in names if hasattr(s, n)})


@dataclasses.dataclass
class LMJudgeVerifierConfig(VerifierConfig):
    llm_judge_model: str
    llm_judge_max_tokens: int
    llm_judge_temperature: float
    llm_judge_timeout: int
    seed: int


class VerifierFunction(ABC):
    def __init__(self, name, weight=1.0, verifier_config=None):
        self.name = name
        self.weight = weight
        self.verifier_config = verifier_config

    @classmethod
    def get_config_class(cls):
        return VerifierConfig

    @abstractmethod
    def __call__(self, tokenized_prediction, prediction, label, query=None, rollout_state=None): ...

    async def async_call(self, tokenized_prediction, prediction, label, query=None, rollout_state=None):
        return self(tokenized_prediction, prediction, label, query, rollout_state)


class StringMatcherVerifier(VerifierFunction):
    def __init__(self, verifier_config=None):
        super().__init__("string_matcher", verifier_config=verifier_config)

    def __call__(self, tokenized_prediction, prediction, label, query=None, rollout_state=None):
        return VerificationResult(score=float(prediction == label))


class LMJudgeVerifier(VerifierFunction):
    def __init__(self, judge_type, verifier_config):
        super().__init__(f"general-{judge_type}", verifier_config=verifier_config)
        self.prompt_template = JUDGE_PROMPT_MAP[judge_type]
        self.extractor = EXTRACTOR_MAP[judge_type]

    def __call__(self, tokenized_prediction, prediction, label, query=None, rollout_state=None):
        return asyncio.run(self.async_call(tokenized_prediction, prediction, label, query))

    async def async_call(self, tokenized_prediction, prediction, label, query, rollout_state=None):
        return VerificationResult(score=self.extractor("x")[1])


def build_all_verifiers(args, streaming_config=None):
    verifiers = {}
    for kind in VerifierFunction.__subclasses__():
        if kind is not LMJudgeVerifier:
            made = kind(kind.get_config_class().from_args(args, streaming_config))
            verifiers[made.name.lower()] = made
    for judge_type in JUDGE_PROMPT_MAP:
        made = LMJudgeVerifier(judge_type, LMJudgeVerifierConfig.from_args(args, streaming_config))
        verifiers[made.name.lower()] = made
    if streaming_config and streaming_config.remap_verifier:
        old, new = streaming_config.remap_verifier.split("=")
        verifiers[old.lower()] = verifiers[new.lower()]
    return verifiers


@dataclasses.dataclass
class RewardConfig:
    apply_verifiable_reward: bool = True
    verification_reward: float = 10.0
    non_stop_penalty: bool = False
    non_stop_penalty_value: float = -10.0
    verifier_functions: dict[str, VerifierFunction] = dataclasses.field(default_factory=dict)

    def build(self):
        async def reward_fn(
            responses, decoded_responses, ground_truths, datasets, finish_reasons, infos, queries: Any = None
        ):
            scores = [0.0] * len(responses)
            per_verifier = {}
            calls, owners = [], []
            rows = zip(responses, decoded_responses, ground_truths, datasets, queries, strict=True)
            for i, (tokens, prediction, truths, labels, query) in enumerate(rows):
                pairs = [(truths, labels)] if isinstance(labels, str) else zip(truths, labels, strict=True)
                for truth, label in pairs:
                    verifier = self.verifier_functions.get(label.lower())
                    if verifier is None:
                        continue
                    arguments = {"prediction": prediction, "label": truth, "query": query, "rollout_state": {}}
                    calls.append(verifier.async_call(tokenized_prediction=tokens, **arguments))
                    owners.append((i, verifier))
            for (i, verifier), result in zip(owners, await asyncio.gather(*calls), strict=True):
                scores[i] += self.verification_reward * result.score * verifier.weight
                per_verifier.setdefault(verifier.name, []).append(scores[i])
            metrics = {f"objective/{name}_reward": sum(v) / len(v) for name, v in per_verifier.items()}
            if self.non_stop_penalty:
                for i, finish_reason in enumerate(finish_reasons):
                    if finish_reason != "stop":
                        scores[i] = self.non_stop_penalty_value
            return scores, metrics

        return reward_fn
