"""Reward servers for tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from judge_double import JudgeDouble
from running_reward_server import RunningRewardServer


@pytest.fixture
def reward_server(judge_double: Callable[..., JudgeDouble]) -> Iterator[Callable[..., RunningRewardServer]]:
    """Starts reward servers before a judge double, or before the judge at `judge_url`. They stop with the test."""
    with ExitStack() as running:

        def start(judge_url: str | None = None, **options: Any) -> RunningRewardServer:
            return running.enter_context(RunningRewardServer(judge_url or judge_double().api_base, **options))

        yield start
