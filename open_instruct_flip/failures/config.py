"""The options that say what a failed judgement becomes, and how long to wait for a judge that is down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from open_instruct_flip.checks import check_zero_or_above
from open_instruct_flip.errors import UsageError

OnFailure = Literal["group_mean", "zero", "raise"]
OnUnreadable = Literal["group_lowest", "group_mean", "zero", "raise"]


@dataclass(frozen=True)
class FailureConfig:
    """What becomes of failed judgements. Plain values only: it is pickled into workers."""

    on_failure: OnFailure = field(
        default="group_mean",
        metadata={"help": "Reward of a response whose request failed: its group's mean, zero, or stop"},
    )
    on_unreadable: OnUnreadable = field(
        default="group_lowest",
        metadata={
            "help": "Reward of a response to which the judge's reply could not be read, which the response may have "
            "caused: its group's lowest reward, its mean, zero, or stop"
        },
    )
    failure_window: int = field(
        default=16,
        metadata={"help": "Groups, per process that hands out rewards, over which the failure rate is taken"},
    )
    max_failure_rate: float = field(
        default=0.5,
        metadata={
            "help": "Share of failed requests and unreadable replies in a full window above which the work waits for "
            "the judge; 1 never waits for that"
        },
    )
    outage_timeout_s: float = field(
        default=900.0, metadata={"help": "Seconds to wait for a judge that is down before the work stops"}
    )

    def __post_init__(self) -> None:
        for name, choices in (("on_failure", get_args(OnFailure)), ("on_unreadable", get_args(OnUnreadable))):
            if getattr(self, name) not in choices:
                raise UsageError(f"--{name} is one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.failure_window < 1:
            raise UsageError(f"--failure_window must be above 0, got {self.failure_window}")
        if not 0.0 <= self.max_failure_rate <= 1.0:
            raise UsageError(f"--max_failure_rate lies in [0, 1], got {self.max_failure_rate}")
        check_zero_or_above(self, "outage_timeout_s")
