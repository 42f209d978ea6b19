"""How a reward server is started."""

from __future__ import annotations

from dataclasses import dataclass, field

from open_instruct_flip.checks import check_above_zero
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.config import FailureConfig


@dataclass(frozen=True)
class RewardServerConfig:
    """Where a reward server listens, and what it takes. Plain values only: it is pickled into workers."""

    judge: str = field(default="flip", metadata={"help": "Judge that gives the rewards"})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; other than loopback needs a key"})
    port: int = field(default=8100, metadata={"help": "Port to listen on; 0 takes a free one"})
    workers: int = field(default=1, metadata={"help": "Processes that serve; they share nothing but the judge"})
    server_key_env: str | None = field(
        default=None, metadata={"help": "Name of the environment variable with the key that trainers must send"}
    )
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "The policy's tokenizer, a folder or hub name: removes the chat template for /get_reward"},
    )
    thinking_opened: bool = field(
        default=False,
        metadata={"help": "Responses at /v1/rewards start inside a thinking section, which the template had opened"},
    )
    max_body_mb: float = field(default=64.0, metadata={"help": "Largest body of a request, in MB"})
    max_rollouts: int = field(
        default=4096, metadata={"help": "Responses that a worker holds, waiting ones included, before it answers 429"}
    )
    deadline_s: float = field(default=170.0, metadata={"help": "Seconds a request may take before it gets a 504"})

    def __post_init__(self) -> None:
        check_above_zero(self, "workers", "max_body_mb", "max_rollouts", "deadline_s")
        if not 0 <= self.port < 65536:
            raise UsageError(f"--port is 1 to 65535, or 0 for a free one, got {self.port}")


@dataclass(frozen=True)
class ServerFailureConfig(FailureConfig):
    """The shared rules of failures. A trainer's request waits less long for a judge than a trainer itself does."""

    outage_timeout_s: float = field(
        default=150.0, metadata={"help": "Seconds a request waits for a judge that is down before it gets a 503"}
    )


def check_times(server: RewardServerConfig, failures: FailureConfig) -> None:
    """Raise UsageError where a request would end before its wait for the judge does, so that no 503 could tell why."""
    if failures.outage_timeout_s >= server.deadline_s:
        raise UsageError(
            f"--outage_timeout_s {failures.outage_timeout_s:g} must be below --deadline_s {server.deadline_s:g}, "
            "else a request ends before it can say that the judge is down"
        )
