"""Settings of a judge's teacher: what is asked about, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from open_instruct_flip.conversation import Target
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.terms import Terms


@dataclass(frozen=True)
class DistilConfig(Terms):
    """Which responses a strong judge is asked about, and what is seen before it is."""

    split: str | None = field(default=None, metadata={"help": "Split of a folder or hub dataset; train when not given"})
    limit: int | None = field(
        default=None, metadata={"help": "Responses to ask about, from the first on; all when not given"}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that fit no known shape"})
    flip_target: Target = field(
        default="last_user", metadata={"help": "What is inferred: the last user turn, or the system prompt"}
    )
    price_per_million: str | None = field(
        default=None, metadata={"help": "Price of a million tokens, IN or IN,OUT, for the cost"}
    )
    dry_run: bool = field(default=False, metadata={"help": "Count requests and tokens, and send nothing"})
    yes: bool = field(default=False, metadata={"help": "Send the requests without asking first"})
    max_failure_rate: float = field(
        default=0.05, metadata={"help": "Share of responses whose judgement may fail before the command fails"}
    )
    outage_timeout_s: float = field(
        default=900.0, metadata={"help": "Seconds to wait for a judge that is down before the run stops"}
    )

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be above 0, got {self.limit}")
        if not 0.0 <= self.max_failure_rate <= 1.0:
            raise UsageError(f"--max_failure_rate is a share between 0 and 1, got {self.max_failure_rate!r}")
        self.failures()
        self.prices()
