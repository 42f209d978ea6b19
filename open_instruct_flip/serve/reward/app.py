"""The application: its routes, and what a request goes through."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from open_instruct_flip import __version__
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.conversation import Message, with_instruction
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.serve.reward.bodies import Group, OpenRlhfRequest, RewardRequest, faults
from open_instruct_flip.serve.reward.config import RewardServerConfig, ServerFailureConfig
from open_instruct_flip.serve.reward.gate import Gate
from open_instruct_flip.serve.reward.judging import AskedGroup, JudgedGroup, Judging
from open_instruct_flip.serve.reward.metrics import Measured, Metrics
from open_instruct_flip.serve.reward.openrlhf import load_tokenizer, read_groups
from open_instruct_flip.serve.reward.problems import Json, Problem, RequestError
from open_instruct_flip.thinking import final_answer

JUDGING = ("/v1/rewards", "/get_reward")


@dataclass(frozen=True)
class ServerSettings:
    """All that a worker is made from; it pickles."""

    server: RewardServerConfig
    client: ClientConfig
    judge_options: Mapping[str, Any] = field(default_factory=dict)
    failures: FailureConfig = field(default_factory=ServerFailureConfig)

    def judge(self) -> Judge:
        """The judge.

        Raises:
            UsageError: It has no such option, or a value can't work.
        """
        return judge_class(self.server.judge).from_options(self.judge_options, self.client)


class RewardServer:
    """What the requests of one process share."""

    def __init__(self, settings: ServerSettings) -> None:
        self._config = settings.server
        self.judging = Judging(settings.judge(), settings.failures)
        self.tokenizer = load_tokenizer(settings.server.tokenizer) if settings.server.tokenizer else None
        self.metrics = Metrics()
        self._held = 0

    async def judge(self, groups: Sequence[AskedGroup]) -> list[JudgedGroup]:
        """Judge a request's groups.

        Raises:
            RequestError: They can't be judged, or the server holds too many responses already.
        """
        for group in groups:
            self.judging.check(group)
        with self._holding(sum(len(group.responses) for group in groups)):
            judged = await self.judging.judge_all(groups)
        self.metrics.count([reward for group in judged for reward in group.rewards])
        return judged

    def asked(self, number: int, group: Group) -> AskedGroup:
        """A group of `/v1/rewards` as it is judged.

        Raises:
            RequestError: It has no prompt, or two.
        """
        place = f"groups[{number}]"
        if group.messages is not None and group.prompt is not None:
            raise RequestError(Problem(422, "invalid_input", "give messages or prompt, not both", place))
        turns: list[Message] = [{"role": turn.role, "content": turn.content} for turn in group.messages or ()]
        if group.prompt is not None:
            turns = [{"role": "user", "content": group.prompt}]
        if not turns and group.ground_truth is None:
            raise RequestError(Problem(422, "invalid_input", "give messages, prompt or ground_truth", place))
        conversation = with_instruction(turns, group.ground_truth, self.judging.judge.target)
        opened = self._config.thinking_opened
        responses = [final_answer(response, opened=True) for response in group.responses] if opened else group.responses
        return AskedGroup(number if group.id is None else group.id, place, conversation, responses)

    @contextmanager
    def _holding(self, count: int) -> Iterator[None]:
        limit = self._config.max_rollouts
        if count > limit:
            told = f"the request has {count} responses, a worker holds {limit}; send fewer, or raise --max_rollouts"
            raise RequestError(Problem(413, "too_large", told))
        if self._held + count > limit:
            told = f"{self._held} responses are being judged already, of {limit} (--max_rollouts); send it again later"
            raise RequestError(Problem(429, "busy", told))
        self._held += count
        self.metrics.held.inc(count)
        try:
            yield
        finally:
            self._held -= count
            self.metrics.held.dec(count)


def make_app(settings: ServerSettings) -> Measured:
    """The application of one process.

    Raises:
        UsageError: An option can't work.
    """
    server = RewardServer(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with server.judging.judge:
            yield

    app = FastAPI(title="FLIP rewards", version=__version__, lifespan=lifespan)
    _add_routes(app, server)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RequestError, _refused)
    config = settings.server
    key = os.environ[config.server_key_env] if config.server_key_env else None
    gate = Gate(app, key, int(config.max_body_mb * 1e6), config.deadline_s)
    return Measured(gate, server.metrics, JUDGING)


def _add_routes(app: FastAPI, server: RewardServer) -> None:
    @app.post("/v1/rewards", summary="Rewards of groups of responses", response_class=Json)
    async def rewards(body: RewardRequest) -> Response:
        judged = await server.judge([server.asked(number, group) for number, group in enumerate(body.groups)])
        rows = [row for group in judged for row in group.rows()]
        problem = _first_problem(judged)
        return problem.response(rewards=rows) if problem else Json({"rewards": rows})

    @app.post("/get_reward", summary="The same in OpenRLHF's form", response_class=Json)
    async def get_reward(body: OpenRlhfRequest) -> Response:
        if server.tokenizer is None:
            told = "start the server with --tokenizer, the policy's: it tells the response from the chat template"
            return Problem(501, "no_tokenizer", told).response()
        groups, numbers = read_groups(body, server.tokenizer)
        judged = await server.judge(groups)
        problem = _first_problem(judged)
        return problem.response() if problem else Json(_in_openrlhf_form(judged, numbers))

    @app.get("/health", summary="Whether the server is there; the judge is not asked", response_class=Json)
    async def health() -> Response:
        return Json({"status": "ok"})

    @app.get("/metrics", summary="Counters for Prometheus")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _first_problem(judged: Sequence[JudgedGroup]) -> Problem | None:
    return next((group.problem for group in judged if group.problem), None)


def _in_openrlhf_form(judged: Sequence[JudgedGroup], numbers: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Rewards in the order of the queries. `extra_logs` are numbers, which OpenRLHF makes tensors of."""
    scores: dict[int, float | None] = {}
    logs: dict[str, dict[int, float]] = {"judge_failure": {}, "copy_rate": {}, "overlap": {}}
    for group, members in zip(judged, numbers, strict=True):
        scores |= dict(zip(members, group.scores, strict=True))
        for number, reward in zip(members, group.rewards, strict=True):
            logs["judge_failure"][number] = float(reward.error is not None)
            logs["copy_rate"][number] = reward.copy_rate or 0.0
            logs["overlap"][number] = reward.overlap or 0.0
    rewards = [scores[number] for number in range(len(scores))]
    in_order = {name: [values[number] for number in range(len(scores))] for name, values in logs.items()}
    return {"rewards": rewards, "scores": rewards, "extra_logs": in_order}


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if "json" not in request.headers.get("content-type", ""):
        return Problem(422, "invalid_input", "send the body with Content-Type: application/json", "headers").response()
    place, reason = faults(list(error.errors()))
    return Problem(422, "invalid_input", reason, place).response()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.problem.response()
