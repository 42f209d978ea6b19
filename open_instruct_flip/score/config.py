"""What `flip score` does with a file, apart from the judge and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.terms import Terms


@dataclass(frozen=True)
class ScoreConfig(Terms):
    """Which judge scores a file, what is written, and when an output is replaced, restarted or refused."""

    judge: str = field(default="flip", metadata={"help": "Judge that scores the responses"})
    split: str | None = field(default=None, metadata={"help": "Split of a folder or hub dataset; train when not given"})
    limit: int | None = field(default=None, metadata={"help": "Rows to score, from the first on; all when not given"})
    thinking_opened: bool = field(
        default=False, metadata={"help": "The responses start inside a thinking section, which the template had opened"}
    )
    keep_replies: bool = field(default=False, metadata={"help": "Write the judge's reply beside each reward"})
    price_per_million: str | None = field(
        default=None, metadata={"help": "Price of a million tokens, IN or IN,OUT, for the cost in the summary"}
    )
    max_failure_rate: float = field(
        default=0.05,
        metadata={
            "help": "Share of failed requests and unreadable replies above which OUT is not finished; bad rows do not "
            "count"
        },
    )
    outage_timeout_s: float = field(
        default=900.0, metadata={"help": "Seconds to wait for a judge that is down before the run stops"}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace OUT if it exists"})
    restart: bool = field(default=False, metadata={"help": "Throw away what an interrupted run has left"})
    dry_run: bool = field(default=False, metadata={"help": "Count requests and tokens, and send nothing"})

    ray: bool = field(
        default=False, metadata={"help": "Score on a Ray cluster; IN must lie where all of its machines can read it"}
    )
    ray_workers: int = field(
        default=4, metadata={"help": "Most processes that score with --ray; they share --max_concurrency"}
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_failure_rate <= 1.0:
            raise UsageError(f"--max_failure_rate is a share between 0 and 1, got {self.max_failure_rate!r}")
        self.failures()
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be above 0, got {self.limit}")
        if self.ray_workers < 1:
            raise UsageError(f"--ray_workers must be above 0, got {self.ray_workers}")
        self.prices()
