"""Open Instruct's double and its judge server as fixtures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from upstream_double import DOUBLE, JudgeServer

collect_ignore = ["open_instruct_double", "two_ranks.py", "verl_manager.py"]  # programs of their own

PLUGIN = "open_instruct_flip.integrations.open_instruct"
IMPORT_OPEN_INSTRUCT = {
    f"{PLUGIN}.{name}" for name in ("verifier", "reward_function", "streaming_config", "preflight", "mixer", "policy")
}


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer().start()
    yield server
    server.stop()


@pytest.fixture
def without_open_instruct() -> Iterator[None]:
    """No module of Open Instruct, and none of ours that imports one, is loaded before and after the test."""
    _forget_open_instruct()
    yield
    _forget_open_instruct()


@pytest.fixture
def open_instruct(without_open_instruct: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The double as `open_instruct`, registered."""
    monkeypatch.syspath_prepend(str(DOUBLE))
    import open_instruct.ground_truth_utils

    from open_instruct_flip import register

    register()
    return open_instruct


def _forget_open_instruct() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "open_instruct" or name in IMPORT_OPEN_INSTRUCT:
            del sys.modules[name]
