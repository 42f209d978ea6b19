"""How many judge servers and client processes a run needs: arithmetic on tokens, seconds and CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Cost(NamedTuple):
    """What one rollout costs on average: requests, and tokens that the server reads and writes."""

    requests: float
    prompt_tokens: float
    reply_tokens: float


@dataclass(frozen=True)
class Rollouts:
    """The texts that are judged, in tokens of the judge.

    Attributes:
        group_size: Responses to each instruction.
        instruction: Tokens of an instruction, on average.
        response: Tokens of a response.
        reply: Tokens of the judge's reply.
    """

    group_size: int = 8
    instruction: float = 30.0
    response: float = 200.0
    reply: float = 12.0


PROMPT_TOKENS = {"flip": 59, "pointwise": 167, "pairwise": 190, "listwise": 200, "likelihood": 158}
"""What a judge's prompt has without instruction and responses: `capacity.py tokens`, by SmolLM2's tokenizer."""

COSTS: dict[str, Callable[[Rollouts, float], Cost]] = {
    "flip": lambda of, own: Cost(1, own + of.response, of.reply),
    "pointwise": lambda of, own: Cost(1, own + of.instruction + of.response, of.reply),
    "pairwise": lambda of, own: Cost(
        of.group_size - 1,
        (of.group_size - 1) * (own + of.instruction + 2 * of.response),
        (of.group_size - 1) * of.reply,
    ),
    "listwise": lambda of, own: Cost(
        1 / of.group_size, (own + of.instruction) / of.group_size + of.response, of.reply / of.group_size
    ),
    # One more request for each group, without a response: how likely the instruction is by itself.
    "likelihood": lambda of, own: Cost(
        1 + 1 / of.group_size, own + of.instruction + of.response + (own + of.instruction) / of.group_size, 0
    ),
}
"""By judge, as its page in the documentation counts requests; all responses of a group are distinct."""


def cost(judge: str, of: Rollouts) -> Cost:
    """What a judge's verdict on one rollout costs."""
    return COSTS[judge](of, PROMPT_TOKENS[judge])


@dataclass(frozen=True)
class Plan:
    """A run: what it asks for, and what its servers and processes can do.

    Attributes:
        rollouts_per_s: Rollouts of a step / seconds of a step.
        cost: Of one rollout.
        read_per_s: Prompt tokens per second that one endpoint reads when it does nothing else.
        write_per_s: Tokens per second that it writes, over all requests at once.
        latency_s: Seconds that a request takes on a loaded endpoint.
        cpu_s: CPU seconds of a client process for a request.
        max_concurrency: Requests in flight of each client process.
        load: Share of their limit to which endpoints and processes are loaded; the rest is for waves and the dead.
    """

    rollouts_per_s: float
    cost: Cost
    read_per_s: float
    write_per_s: float
    latency_s: float = 1.0
    cpu_s: float = 0.0008
    max_concurrency: int = 256
    load: float = 0.7

    @property
    def endpoint_per_s(self) -> float:
        """Rollouts per second that one endpoint judges at most."""
        return 1 / (self.cost.prompt_tokens / self.read_per_s + self.cost.reply_tokens / self.write_per_s)

    @property
    def process_cpu_per_s(self) -> float:
        """Rollouts per second for which the one core of a client process suffices."""
        return 1 / (self.cost.requests * self.cpu_s)

    @property
    def process_in_flight_per_s(self) -> float:
        """Rollouts per second for which a client process may have enough requests in flight (Little's law)."""
        return self.max_concurrency / (self.cost.requests * self.latency_s)

    @property
    def in_flight(self) -> float:
        """Requests in flight, over all processes."""
        return self.rollouts_per_s * self.cost.requests * self.latency_s

    @property
    def endpoints(self) -> int:
        """Endpoints that are needed."""
        return math.ceil(self.rollouts_per_s / (self.load * self.endpoint_per_s))

    @property
    def processes(self) -> int:
        """Client processes that are needed."""
        each_per_s = min(self.load * self.process_cpu_per_s, self.process_in_flight_per_s)
        return math.ceil(self.rollouts_per_s / each_per_s)

    def bottleneck(self, endpoints: int, processes: int) -> tuple[str, float]:
        """What limits a run that has these, and to how many rollouts per second."""
        limits = {
            "trainer": self.rollouts_per_s,
            "endpoints": endpoints * self.endpoint_per_s,
            "client CPU": processes * self.process_cpu_per_s,
            "max_concurrency": processes * self.process_in_flight_per_s,
        }
        name = min(limits, key=lambda limit: limits[limit])
        return name, limits[name]
