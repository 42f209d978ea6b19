"""Settings and fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from judge_double import JudgeDouble

# Machines are shared: how long one example takes says nothing.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")


@pytest.fixture
def judge_double() -> Iterator[Callable[..., JudgeDouble]]:
    """Starts judge servers for a test; the arguments are those of `JudgeDouble`. They stop with the test."""
    with ExitStack() as running:

        def start(**options: Any) -> JudgeDouble:
            return running.enter_context(JudgeDouble(**options))

        yield start
