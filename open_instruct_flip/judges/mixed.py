"""Mixed judges: several judges score a group, and their rewards, standardised in it, are averaged.

Of each part, a reward becomes z = (reward - mean) / standard deviation over the group's responses that no part failed.
A part that gives all of them the same reward tells them nothing apart: z = 0. The mixed reward is logistic(weighted
mean of z), so 0.5 is the group's average, and the parts' units, ranges and spreads play no role. It compares within a
group only: rewards of two groups say nothing of each other, and a group of one is the failure `invalid_input`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import lru_cache
from statistics import fmean, pstdev
from typing import Any, ClassVar, Self, get_type_hints

from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.likelihood import logistic
from open_instruct_flip.rewards import FailureKind, Reward, Usage, precedence

JOINT = "+"
"""Stands between the names of a mixed judge's parts."""
ROUNDING = 1e-9
"""Rewards that spread less are the same: the rest is the order in which numbers were added."""
OF_ONE_PART = ("inferred_instruction", "precision", "recall", "reply", "tokens")
"""What a mixed reward has from the first part that has it."""


@dataclass(frozen=True)
class MixedConfig(JudgeConfig):
    """What a mixed judge has beside the options of its parts."""

    mixture_weights: str | None = field(
        default=None,
        metadata={"help": "Weights of a mixed judge's parts in the order of its name, such as 0.5,0.5; else equal"},
    )

    def weights(self, num_parts: int) -> list[float]:
        """The weights, made to add up to 1.

        Raises:
            UsageError: They are no numbers of 0 or above, not as many as the parts, or all 0.

        Example:
            >>> MixedConfig(mixture_weights="3,1").weights(2)
            [0.75, 0.25]
        """
        if self.mixture_weights is None:
            return [1 / num_parts] * num_parts
        try:
            given = [float(part) for part in self.mixture_weights.split(",")]
        except ValueError:
            given = []
        if len(given) != num_parts or not all(0 <= w < math.inf for w in given) or not 0 < sum(given) < math.inf:
            raise UsageError(
                f"--mixture_weights is a number of 0 or above for each of the {num_parts} judges, such as "
                f"{','.join(['0.5'] * num_parts)}; got {self.mixture_weights!r}"
            )
        return [weight / sum(given) for weight in given]


class MixedJudge(Judge):
    """The weighted mean of several judges' standardised rewards; each type of it is made by `mixed`.

    All parts ask the same model. A response that a part failed has no mixed reward, but that part's error.
    """

    name = "mixed"
    config_class = MixedConfig
    config: MixedConfig
    compares_group = True
    part_types: ClassVar[tuple[type[Judge], ...]] = ()

    def check(self) -> None:
        self.parts = [part.from_options(self._options_of(part), self.client) for part in self.part_types]
        self.sees_instruction = all(part.sees_instruction for part in self.parts)
        self._weights = self.config.weights(len(self.parts))

    def _options_of(self, part: type[Judge]) -> dict[str, Any]:
        """The options of one part; what is None is left at that judge's own default."""
        given = {option.name: getattr(self.config, option.name) for option in fields(part.config_class)}
        return {name: value for name, value in given.items() if value is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        # Its type was made in this process.
        values = {option.name: getattr(self.config, option.name) for option in fields(self.config)}
        return _again, (self.part_types, values, self.client.config, [part.config for part in self.parts])

    @property
    def temperature(self) -> float:
        return max(part.temperature for part in self.parts)

    async def settled(self) -> Self:
        return self._of_parts([await part.settled() for part in self.parts])

    def remade(self, client: ClientConfig | JudgeClient | None = None, **options: Any) -> Self:
        made = super().remade(client, **options)
        return made._of_parts([part.remade(made.client, **part.own_options(options)) for part in self.parts])

    def options(self) -> dict[str, Any]:
        """The options; one that was settled for parts is a mapping from their names to what it is for them."""
        settled: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            given = self._options_of(type(part))
            for name, value in part.options().items():
                if name in given and value != given[name]:
                    settled.setdefault(name, {})[part.name] = value
        return super().options() | settled

    def _of_parts(self, parts: Sequence[Judge]) -> Self:
        """This judge with parts whose options are not the mixture's own any more."""
        made = self.from_config(self.config, self.client)
        made.parts = list(parts)
        return made

    def prompt_texts(self) -> tuple[str, ...]:
        return tuple(text for part in self.parts for text in part.prompt_texts())

    def fault(self, conversation: Sequence[Message], responses: Sequence[str]) -> Reward | None:
        faults = [part.fault(conversation, responses) for part in self.parts]
        detail = f"the {self.name} judge compares responses and got a group of one; give it two or more per prompt"
        alone = Reward(error=FailureKind.INVALID_INPUT, detail=detail) if len(responses) < 2 else None
        return next((fault for fault in [alone, *faults] if fault is not None), None)

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        judged = await together(part.score_group(conversation, responses) for part in self.parts)
        of_response = list(zip(*judged, strict=True))
        is_whole = [all(reward.score is not None for reward in rewards) for rewards in of_response]
        means = iter(self._means([rewards for rewards, whole in zip(of_response, is_whole, strict=True) if whole]))
        return [
            self._mixed(rewards, next(means) if whole else None)
            for rewards, whole in zip(of_response, is_whole, strict=True)
        ]

    def _means(self, whole: Sequence[Sequence[Reward]]) -> list[float]:
        """The weighted mean of the standardised rewards of each response."""
        columns = [standardised([reward.score or 0.0 for reward in of_part]) for of_part in zip(*whole, strict=True)]
        return [sum(w * z for w, z in zip(self._weights, row, strict=True)) for row in zip(*columns, strict=True)]

    def _mixed(self, rewards: Sequence[Reward], mean: float | None) -> Reward:
        named = list(zip((part.name for part in self.parts), rewards, strict=True))
        if mean is None:
            errors = [(name, reward.error, reward.detail) for name, reward in named if reward.error]
            name, error, why = min(errors, key=lambda failure: precedence(failure[1]))
            verdict: dict[str, Any] = {"error": error, "detail": f"{name}: {why}"}
        else:
            detail = ", ".join(f"{name} {reward.score:.4f}" for name, reward in named)
            verdict = {"score": logistic(mean), "detail": detail}
        return Reward(
            **verdict,
            **{name: _first(rewards, name) for name in OF_ONE_PART},
            usage=sum((reward.usage for reward in rewards), Usage()),
            latency_s=max(reward.latency_s for reward in rewards),
            truncated=any(reward.truncated for reward in rewards),
            duplicate=all(reward.duplicate for reward in rewards),
        )


def standardised(values: Sequence[float]) -> list[float]:
    """Values less their mean, in units of their standard deviation; all 0.0 where they are the same.

    Example:
        >>> standardised([1.0, 3.0]), standardised([0.7, 0.7])
        ([-1.0, 1.0], [0.0, 0.0])
    """
    mean, spread = fmean(values), pstdev(values)
    return [(value - mean) / spread if spread > ROUNDING else 0.0 for value in values]


@lru_cache(maxsize=256)
def mixed(*parts: type[Judge]) -> type[MixedJudge]:
    """The type of judge that mixes these, with the options of all of them."""
    config = make_dataclass("MixedConfigOfParts", _options(parts), bases=(MixedConfig,), frozen=True, kw_only=True)
    namespace: dict[str, Any] = {
        "name": JOINT.join(part.name for part in parts),
        "config_class": config,
        "part_types": parts,
        "sees_instruction": all(part.sees_instruction for part in parts),
        "runs_in_process": all(part.runs_in_process for part in parts),
    }
    return type("MixedJudgeOfParts", (MixedJudge,), namespace)


def _options(parts: Sequence[type[Judge]]) -> list[tuple[str, Any, Any]]:
    """The parts' options, at their default where they agree on it, else None: each part then has its own."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for part in parts:
        hints = get_type_hints(part.config_class)
        for option in fields(part.config_class):
            default = option.default
            if option.name in found and found[option.name][2].default != default:
                default = None
            hint = hints[option.name] | None if default is None else hints[option.name]
            found[option.name] = (option.name, hint, field(default=default, metadata=dict(option.metadata)))
    return list(found.values())


def _first(rewards: Sequence[Reward], name: str) -> Any:
    return next((value for reward in rewards if (value := getattr(reward, name)) is not None), None)


def _again(
    types: tuple[type[Judge], ...], values: dict[str, Any], client: ClientConfig, configs: Sequence[JudgeConfig]
) -> MixedJudge:
    made = mixed(*types).from_options(values, client)
    return made._of_parts([part.from_config(own, made.client) for part, own in zip(types, configs, strict=True)])
