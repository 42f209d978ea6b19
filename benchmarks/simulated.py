"""Judge servers and an event loop in a simulation's time (simpy): the real client runs on them, unchanged.

The loop has simpy's clock for its own. Whatever asyncio schedules, be it a wait between attempts, a time limit or a
rest of an endpoint, becomes an event of the simulation beside those of the servers; nothing waits in real time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import Context
from typing import Any, TypeVar

import simpy
from judge_load import Outcome, Scenario, run

from open_instruct_flip.client.chance import CHANCE
from open_instruct_flip.client.connections import share
from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.rewards import FailureKind, Usage

Result = TypeVar("Result")
Steps = Generator[simpy.Event, Any, None]

COMPLETION = Completion(("{}",), ("stop",), Usage(420, 80, 1))


class SimulatedLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, timers and asyncio's locks need. It has neither sockets nor threads.

    Args:
        env: The simulation.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self._errors: list[dict[str, Any]] = []

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end, in simulated time.

        Raises:
            RuntimeError: Something failed that nobody awaited, or nothing is left that could end the work.
        """
        asyncio.events._set_running_loop(self)
        try:
            task, ended = self.create_task(work), self.env.event()
            task.add_done_callback(lambda _: ended.succeed())
            self.env.run(until=ended)
        finally:
            asyncio.events._set_running_loop(None)
        if self._errors:
            raise RuntimeError(f"failed unseen in the simulation: {self._errors[0]}")
        return task.result()

    def time(self) -> float:
        return float(self.env.now)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_later(0.0, callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        delay = max(delay, 0.0)
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self.env.timeout(delay).callbacks.append(lambda _: handle.cancelled() or handle._run())
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._errors.append(context)

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer's event stays where it is, and does nothing."""


class SimulatedServer:
    """A judge server that answers so many requests at once, each after its service time; the others queue.

    Args:
        env: The simulation.
        scenario: Slots and service times.
        rng: What draws these.
    """

    def __init__(self, env: simpy.Environment, scenario: Scenario, rng: random.Random) -> None:
        self._env, self._scenario, self._rng = env, scenario, rng
        self._slots = simpy.Resource(env, scenario.slots)
        self._awake = env.event().succeed()
        self._is_slow = False
        self._is_up = True
        self._under_way: dict[simpy.Process, None] = {}

    def serve(self, answer: asyncio.Future[bool]) -> simpy.Process:
        """Begin a request, whose future gets True with the answer, and False where the connection breaks."""
        process = self._env.process(self._work(answer))
        if self._is_up:
            self._under_way[process] = None
        else:
            process.interrupt()
        return process

    def _work(self, answer: asyncio.Future[bool]) -> Steps:
        try:
            with self._slots.request() as slot:
                yield slot
                yield self._awake
                yield self._env.timeout(self._service_s())
                yield self._awake
            answered = True
        except simpy.Interrupt:
            answered = False
        self._under_way.pop(self._env.active_process, None)
        if not answer.done():
            answer.set_result(answered)

    def _service_s(self) -> float:
        of = self._scenario
        factor = of.slow_factor if self._is_slow else 1.0
        return of.service_s * factor * self._rng.uniform(1 - of.spread, 1 + of.spread)

    def slow(self) -> None:
        self._is_slow = True

    def quicken(self) -> None:
        self._is_slow = False

    def hang(self) -> None:
        self._awake = self._env.event()

    def wake(self) -> None:
        self._awake.succeed()

    def kill(self) -> None:
        self._is_up = False
        for process in self._under_way:
            process.interrupt()

    def start(self) -> None:
        self._is_up = True


class SimulatedTransport:
    """What carries requests to simulated servers, in place of HTTP.

    Args:
        loop: The loop of the client.
        servers: By the endpoints' URLs.
        cpu_s: CPU seconds that the client's process, which has one core, spends on a request.
    """

    def __init__(self, loop: SimulatedLoop, servers: Mapping[str, SimulatedServer], cpu_s: float) -> None:
        self._loop, self._servers, self._cpu_s = loop, servers, cpu_s
        self._core = asyncio.Lock()

    async def complete(self, request: ChatRequest, endpoint: str | None, timeout_s: float) -> Completion:
        """Have one request served; see `Transport.complete`."""
        async with self._core:
            await asyncio.sleep(self._cpu_s)
        answer = self._loop.create_future()
        process = self._servers[str(endpoint)].serve(answer)
        try:
            answered = await answer
        except asyncio.CancelledError:  # as a server does whose client hangs up
            if process.is_alive:
                process.interrupt()
            raise
        if not answered:
            raise RequestFailed(FailureKind.UNREACHABLE, f"no connection to {endpoint}", retryable=True)
        return COMPLETION

    async def aclose(self) -> None:
        """Nothing is open."""


def simulate(scenario: Scenario, cpu_s: float = 0.0, seed: int = 1) -> Outcome:
    """What comes of a scenario.

    Args:
        scenario: Servers, clients and faults.
        cpu_s: CPU seconds that a client's process spends on a request.
        seed: Of the service times and of the client's jitter.
    """
    env, rng = simpy.Environment(), random.Random(seed)
    CHANCE.seed(seed)
    urls = [f"http://judge-{number}/v1" for number in range(scenario.servers)]
    servers = [SimulatedServer(env, scenario, rng) for _ in range(scenario.servers)]
    loop = SimulatedLoop(env)

    async def with_transports() -> Outcome:
        for config in scenario.configs(urls):
            share(config, SimulatedTransport(loop, dict(zip(urls, servers, strict=True)), cpu_s))
        return await run(scenario, urls, servers)

    return loop.run(with_transports())
