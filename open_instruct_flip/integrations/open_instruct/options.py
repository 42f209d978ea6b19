"""FLIP's flags beside Open Instruct's own: every option of judges, client, failures and training as `--flip_*`.

Where Open Instruct has a flag of the same meaning (`UPSTREAM_FLAGS`), that flag is the option, and there is no second.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_type_hints

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.registry import judge_options, our_judges

OpensThinking = Literal["auto", "yes", "no"]

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

    samples_every: int = field(
        default=20, metadata={"help": "Training steps from one table of samples in the tracker to the next; 0 for none"}
    )
    preflight: bool = field(
        default=True, metadata={"help": "Check the datasets and ask every judge endpoint before Ray starts"}
    )
    policy_opens_thinking: OpensThinking = field(
        default="auto",
        metadata={
            "help": "Whether the policy's chat template ends the prompt with an opening thinking tag, so that a "
            "response without a closing one has no answer; auto: the launcher renders the template and sees"
        },
    )
    judge_proven: bool = field(
        default=False,
        metadata={
            "help": "Whether the judge is known to have answered, so that a 401, 403 or 404 is waited out from the "
            "first rollout on; the launcher's check sets it"
        },
    )

    def __post_init__(self) -> None:
        if self.samples_every < 0:
            raise UsageError(f"--samples_every must be at least 0, got {self.samples_every}")


class FlipOptions(NamedTuple):
    """All options of a run, read from its parsed flags."""

    judge_options: dict[str, Any]
    client: ClientConfig
    failures: FailureConfig
    training: TrainingConfig

    @classmethod
    def from_flags(cls, *sources: Any) -> FlipOptions:
        """Read the flags from parsed dataclasses; a later source wins, None is skipped, absent flags keep defaults."""
        with our_flag_names():
            options = cls(
                {name: value for name, value in _values(_judge_fields(), sources).items() if value is not None},
                *(config(**_values(_names(config), sources)) for config in _CONFIGS),
            )
            for judge in our_judges():
                options.judge_config(judge)  # refuses impossible values
        return options

    def judge_config(self, judge: type[Judge]) -> JudgeConfig:
        """A judge's configuration: those of the run's options that it has, the others at its own defaults."""
        return judge.make_config(judge.own_options(self.judge_options))


_CONFIGS: tuple[Any, ...] = (ClientConfig, FailureConfig, TrainingConfig)


def flag_name(field_name: str) -> str:
    """The flag that sets a field of ours.

    Example:
        >>> flag_name("api_base"), flag_name("flip_target"), flag_name("max_tokens")
        ('flip_api_base', 'flip_target', 'llm_judge_max_tokens')
    """
    if field_name in UPSTREAM_FLAGS:
        return UPSTREAM_FLAGS[field_name]
    return field_name if field_name.startswith("flip_") else f"flip_{field_name}"


def flags_help() -> str:
    """A help text for every `--flip_*` flag."""
    usage = "flip train [--flip_* flags] [flags of Open Instruct's grpo_fast]"
    parser = argparse.ArgumentParser(usage=usage, add_help=False)
    group = parser.add_argument_group("flags of open_instruct_flip")
    for flag in dataclasses.fields(FlipFlags):
        text = flag.metadata["help"].replace("%", "%%")
        shown = f" (default: {flag.default})" if flag.default not in (None, "") else ""
        group.add_argument(f"--{flag.name}", metavar="VALUE", help=f"{text}{shown}")
    return parser.format_help()


def in_our_flags(text: str) -> str:
    """A message of this package with its options as Open Instruct's parser knows them.

    Example:
        >>> in_our_flags("--api_base must be set, and --max_tokens above 0")
        '--flip_api_base must be set, and --llm_judge_max_tokens above 0'
    """
    ours = {*_judge_fields(), *(name for config in _CONFIGS for name in _names(config))}
    return re.sub(r"--(\w+)", lambda found: f"--{flag_name(found[1])}" if found[1] in ours else found[0], text)


@contextmanager
def our_flag_names() -> Iterator[None]:
    """Within this block a UsageError names the flags of `in_our_flags`."""
    try:
        yield
    except UsageError as error:
        raise UsageError(in_our_flags(str(error))) from error


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
    for config in _CONFIGS:
        hints = get_type_hints(config)
        for option in dataclasses.fields(config):
            if option.name not in UPSTREAM_FLAGS:
                copy = field(default=option.default, metadata=dict(option.metadata))
                flags.append((flag_name(option.name), hints[option.name], copy))
    return flags


FlipFlags = dataclasses.make_dataclass("FlipFlags", _flag_fields(), namespace={"__module__": __name__})
"""A dataclass with one field per `--flip_*` flag."""
