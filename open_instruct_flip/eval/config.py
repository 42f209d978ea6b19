"""What `flip eval` does with a benchmark, apart from the judges and how they are reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.terms import Terms

Half = Literal["even", "odd"]


@dataclass(frozen=True)
class EvalConfig(Terms):
    """Which items are judged and how often, and when an earlier run's judgements are thrown away."""

    split: str | None = field(default=None, metadata={"help": "Split of a folder or hub dataset"})
    limit: int | None = field(
        default=None, metadata={"help": "Items of each subset, from the first on; all if not given"}
    )
    half: Half | None = field(
        default=None,
        metadata={
            "help": "Take every second item, by its number in its subset from 0: choose settings on the even ones, "
            "report on the odd ones"
        },
    )
    runs: int = field(
        default=1, metadata={"help": "How often a judge with a temperature above 0 judges each item; figures are means"}
    )
    price_per_million: str | None = field(
        default=None, metadata={"help": "Price of a million tokens, IN or IN,OUT, for the cost of 1,000 judgements"}
    )
    bootstrap_seed: int = field(default=0, metadata={"help": "Seed of the resampling behind the standard errors"})
    outage_timeout_s: float = field(
        default=900.0, metadata={"help": "Seconds to wait for a judge that is down before the run stops"}
    )
    restart: bool = field(default=False, metadata={"help": "Throw away the judgements that DIR holds"})
    dry_run: bool = field(default=False, metadata={"help": "Count requests and tokens, and send nothing"})
    ray: bool = field(default=False, metadata={"help": "Judge on a Ray cluster"})
    ray_workers: int = field(
        default=4, metadata={"help": "Most processes that judge with --ray; they share --max_concurrency"}
    )

    def __post_init__(self) -> None:
        for name in ("limit", "runs", "ray_workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be above 0, got {value}")
        if self.half not in (None, *get_args(Half)):
            raise UsageError(f"--half is one of {', '.join(get_args(Half))}, got {self.half!r}")
        self.failures()
        self.prices()
