"""A load on judge servers that fail on schedule, and what came of it: the same on real servers and on simulated ones.

Each client process keeps a number of rollouts under way for a while, and begins the next when one has ended, as a
trainer does that judges beside its generation.
"""

from __future__ import annotations

import asyncio
import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from client import prompt

from open_instruct_flip.client import endpoints
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, RequestFailed


class Server(Protocol):
    """What can befall a server."""

    def slow(self) -> None:
        """Take longer for requests that begin from now on."""

    def quicken(self) -> None:
        """Take the usual time again."""

    def hang(self) -> None:
        """Answer nothing until `wake`."""

    def wake(self) -> None:
        """Go on after `hang`."""

    def kill(self) -> None:
        """Break all connections, and refuse new ones until `start`."""

    def start(self) -> None:
        """Serve again."""


Action = Literal["slow", "quicken", "hang", "wake", "kill", "start"]
SAID: dict[Action, int] = {
    "kill": logging.WARNING,
    "hang": logging.WARNING,
    "start": logging.INFO,
    "wake": logging.INFO,
}
"""On which level of its log the client says that a breaker has opened or closed, as an action makes it do."""


class Fault(NamedTuple):
    """At this second, this happens to the server of this number."""

    at_s: float
    server: int
    action: Action


@dataclass(frozen=True)
class Scenario:
    """Servers, clients and faults.

    Attributes:
        servers: How many.
        slots: Requests that each answers at once.
        service_s: Seconds that an answer takes, on average.
        spread: They are spread evenly over this share of the average, up and down.
        slow_factor: How many times as long they take on a slow server.
        processes: Client processes, each of its own endpoints' health.
        in_flight: Rollouts that each has under way.
        duration_s: How long rollouts are begun.
        timeout_s: The client's time limit for a request.
        faults: What happens when.
    """

    servers: int
    slots: int
    service_s: float
    spread: float = 0.0
    slow_factor: float = 4.0
    processes: int = 1
    in_flight: int = 256
    duration_s: float = 60.0
    timeout_s: float = 120.0
    faults: Sequence[Fault] = ()

    @property
    def limit_per_s(self) -> float:
        """Rollouts per second that nothing can exceed: the servers' slots, or the rollouts under way."""
        return min(self.servers * self.slots, self.processes * self.in_flight) / self.service_s

    def configs(self, urls: Sequence[str]) -> list[ClientConfig]:
        """Of each client process. Their models' names tell them apart where they run on one event loop."""
        return [
            ClientConfig(
                f"hosted_vllm/process-{number}",
                ",".join(urls),
                max_concurrency=self.in_flight,
                timeout_s=self.timeout_s,
                judge_transport="direct",
            )
            for number in range(self.processes)
        ]


class Rollout(NamedTuple):
    """One judgement: when it began and ended, in seconds of the run, and whether it failed."""

    began_s: float
    ended_s: float
    failed: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Times in seconds; None where it did not happen.

    Attributes:
        rollouts: Every judgement.
        duration_s: How long rollouts were begun.
        delays_s: By action, from it until the last client process had opened the breaker of the server that died or
            fell silent, or had an answer from the one that came back: the median over the servers, if any.
    """

    rollouts: Sequence[Rollout]
    duration_s: float
    delays_s: Mapping[Action, float | None]

    def figures(self) -> dict[str, float | None]:
        """The run in a table's row."""
        times = sorted(rollout.ended_s - rollout.began_s for rollout in self.rollouts)
        in_time = sum(not r.failed and r.ended_s <= self.duration_s for r in self.rollouts)
        return {
            "rollouts/s": in_time / self.duration_s,
            "p50 s": times[len(times) // 2],
            "p99 s": times[math.ceil(0.99 * len(times)) - 1],
            "longest s": times[-1],
            "failed %": 100 * sum(rollout.failed for rollout in self.rollouts) / len(self.rollouts),
            "death noticed s": self.delays_s["kill"],
            "used after start s": self.delays_s["start"],
            "silence noticed s": self.delays_s["hang"],
            "used after silence s": self.delays_s["wake"],
        }


async def run(scenario: Scenario, urls: Sequence[str], servers: Sequence[Server]) -> Outcome:
    """Put the load on servers while the faults happen to them, on whatever event loop and transport there is."""
    start_s = asyncio.get_running_loop().time()
    clients = [JudgeClient(config) for config in scenario.configs(urls)]
    with _breakers(start_s) as seen:
        happening = asyncio.create_task(_happen(scenario.faults, servers))
        working = [_work(client, start_s, scenario) for client in clients for _ in range(scenario.in_flight)]
        rollouts = [rollout for of_worker in await asyncio.gather(*working) for rollout in of_worker]
        await happening
    for client in clients:
        await client.aclose()
    return Outcome(rollouts, scenario.duration_s, {action: _delay_s(scenario, urls, action, seen) for action in SAID})


async def _work(client: JudgeClient, start_s: float, scenario: Scenario) -> list[Rollout]:
    """Have one rollout after the other judged."""
    now = asyncio.get_running_loop().time
    rollouts: list[Rollout] = []
    while now() < start_s + scenario.duration_s:
        began_s, failed = now(), False
        try:
            await client.complete(_REQUEST)
        except RequestFailed:
            failed = True
        rollouts.append(Rollout(began_s - start_s, now() - start_s, failed))
    return rollouts


_REQUEST = ChatRequest(prompt("a response of forty words " * 8), max_tokens=512)


async def _happen(faults: Sequence[Fault], servers: Sequence[Server]) -> None:
    past_s = 0.0
    for fault in sorted(faults):
        await asyncio.sleep(fault.at_s - past_s)
        past_s = fault.at_s
        getattr(servers[fault.server], fault.action)()


Seen = Mapping[int, list[tuple[float, str]]]
"""By level, when the log said what: a warning that a breaker has opened, information that it has closed."""


@contextmanager
def _breakers(start_s: float) -> Iterator[Seen]:
    """Takes down when breakers open and close, which the client says in its log."""
    now = asyncio.get_running_loop().time
    seen: dict[int, list[tuple[float, str]]] = defaultdict(list)

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen[record.levelno].append((now() - start_s, record.getMessage()))

    watch, before = Watch(), (endpoints.logger.level, endpoints.logger.propagate)
    endpoints.logger.addHandler(watch)
    endpoints.logger.setLevel(logging.INFO)
    endpoints.logger.propagate = False
    try:
        yield seen
    finally:
        endpoints.logger.removeHandler(watch)
        endpoints.logger.setLevel(before[0])
        endpoints.logger.propagate = before[1]


def _delay_s(scenario: Scenario, urls: Sequence[str], action: Action, seen: Seen) -> float | None:
    """From an action until each client process has said what it says of it: the median over the servers."""
    delays_s = []
    for fault in scenario.faults:
        if fault.action == action:
            said = (at_s for at_s, text in seen[SAID[action]] if at_s >= fault.at_s and urls[fault.server] in text)
            last_s = next(islice(said, scenario.processes - 1, None), None)
            if last_s is not None:
                delays_s.append(last_s - fault.at_s)
    return statistics.median(delays_s) if delays_s else None
