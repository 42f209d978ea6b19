"""FLIP's flags beside Open Instruct's own: every field of the judge, client and training configuration as `--flip_*`.

Where Open Instruct has a flag of the same meaning (`UPSTREAM_FLAGS`), that flag is the option, and there is no second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_type_hints

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.registry import importable_judges, judge_options

OnFailure = Literal["group_mean", "zero", "raise"]
CopyGuard = Literal["off", "mask", "penalize"]

UPSTREAM_FLAGS = {
    "llm_judge_model": "llm_judge_model",
    "timeout_s": "llm_judge_timeout",
    "temperature": "llm_judge_temperature",
    "max_tokens": "llm_judge_max_tokens",
    "seed": "seed",
}
"""Our field -> Open Instruct's flag, which has Open Instruct's default."""


@dataclass(frozen=True)
class TrainingConfig:
    """What a training run does with rewards, beyond asking a judge. Plain values only: it is pickled into workers."""

    on_failure: OnFailure = field(
        default="group_mean",
        metadata={"help": "Reward of a sample whose judgement failed: its group's mean, zero, or stop the run"},
    )
    failure_window: int = field(
        default=16, metadata={"help": "Groups, per vLLM engine, over which the failure rate is taken"}
    )
    max_failure_rate: float = field(
        default=0.5,
        metadata={"help": "Share of failed judgements in a full window above which training waits for the judge"},
    )
    outage_timeout_s: float = field(
        default=900.0, metadata={"help": "Seconds to wait for a judge that is down before training stops"}
    )
    copy_guard: CopyGuard = field(
        default="off",
        metadata={"help": "Against responses that quote their instruction: mask the quotes, or scale the reward down"},
    )
    samples_every: int = field(
        default=20, metadata={"help": "Training steps from one table of samples in the tracker to the next; 0 for none"}
    )

    preflight: bool = field(
        default=True, metadata={"help": "Check the datasets and ask every judge endpoint before Ray starts"}
    )

    def __post_init__(self) -> None:
        if self.failure_window < 1 or self.outage_timeout_s < 0 or self.samples_every < 0:
            raise UsageError(
                "--flip_failure_window must be above 0, --flip_outage_timeout_s and --flip_samples_every at least 0, "
                f"got {self.failure_window}, {self.outage_timeout_s}, {self.samples_every}"
            )
        if not 0.0 <= self.max_failure_rate <= 1.0:
            raise UsageError(f"--flip_max_failure_rate lies in [0, 1], got {self.max_failure_rate}")


class FlipOptions(NamedTuple):
    """All options of a run, read from its parsed flags."""

    judge_options: dict[str, Any]
    client: ClientConfig
    training: TrainingConfig

    @classmethod
    def from_flags(cls, *sources: Any) -> FlipOptions:
        """Read the flags from parsed dataclasses; a later source wins, None is skipped, absent flags keep defaults."""
        options = cls(
            {name: value for name, value in _values(_judge_fields(), sources).items() if value is not None},
            ClientConfig(**_values(_names(ClientConfig), sources)),
            TrainingConfig(**_values(_names(TrainingConfig), sources)),
        )
        for judge in importable_judges():
            options.judge_config(judge)  # refuses impossible values
        return options

    def judge_config(self, judge: type[Judge]) -> JudgeConfig:
        """A judge's configuration: those of the run's options that it has, the others at its own defaults."""
        own = _names(judge.config_class)
        return judge.make_config({name: value for name, value in self.judge_options.items() if name in own})


def flag_name(field_name: str) -> str:
    """The flag that sets a field of ours.

    Example:
        >>> flag_name("api_base"), flag_name("flip_target"), flag_name("max_tokens")
        ('flip_api_base', 'flip_target', 'llm_judge_max_tokens')
    """
    if field_name in UPSTREAM_FLAGS:
        return UPSTREAM_FLAGS[field_name]
    return field_name if field_name.startswith("flip_") else f"flip_{field_name}"


def _names(config: type) -> list[str]:
    return [f.name for f in dataclasses.fields(config)]


def _judge_fields() -> list[str]:
    return [option.name for option in judge_options()]


def _values(fields: Iterable[str], sources: tuple[Any, ...]) -> dict[str, Any]:
    names = {name: flag_name(name) for name in fields}
    return {
        name: getattr(source, flag)
        for source in sources
        if source is not None
        for name, flag in names.items()
        if hasattr(source, flag)
    }


def _flag_fields() -> list[tuple[str, Any, Any]]:
    flags: list[tuple[str, Any, Any]] = [
        (flag_name(option.name), option.hint | None, field(default=None, metadata={"help": option.help}))
        for option in judge_options()
        if option.name not in UPSTREAM_FLAGS
    ]
    for config in (ClientConfig, TrainingConfig):
        hints = get_type_hints(config)
        for option in dataclasses.fields(config):
            if option.name not in UPSTREAM_FLAGS:
                copy = field(default=option.default, metadata=dict(option.metadata))
                flags.append((flag_name(option.name), hints[option.name], copy))
    return flags


FlipFlags = dataclasses.make_dataclass("FlipFlags", _flag_fields(), namespace={"__module__": __name__})
"""A dataclass with one field per `--flip_*` flag."""
