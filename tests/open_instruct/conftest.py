"""Runs against a real Open Instruct checkout: set OPEN_INSTRUCT_DIR, in an environment with its requirements."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = os.environ.get("OPEN_INSTRUCT_DIR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not CHECKOUT:
        here = Path(__file__).parent
        skip = pytest.mark.skip(reason="needs a checkout of Open Instruct: set OPEN_INSTRUCT_DIR")
        for item in items:
            if here in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The checkout, on the path of this process and of those it starts."""
    from open_instruct_flip.integrations.open_instruct import checkout as plugin

    plugin.put_on_path(CHECKOUT)
    return Path(str(CHECKOUT)).resolve()


@pytest.fixture(scope="session")
def registered(checkout: Path) -> Any:
    """`ground_truth_utils` of the checkout, with the plugin registered."""
    import open_instruct_flip

    open_instruct_flip.register()
    from open_instruct import ground_truth_utils

    assert Path(ground_truth_utils.__file__).is_relative_to(checkout), sys.path
    return ground_truth_utils


@pytest.fixture(scope="session")
def grpo_fast(registered: Any) -> Any:
    """The trainer's module; v0.2.0 needs an older vLLM than v0.3.0 and later."""
    try:
        from open_instruct import grpo_fast
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("vllm"):
            raise
        pytest.skip(f"the trainer of this checkout needs {error.name}, which the installed vLLM does not have")
    return grpo_fast
