"""The same on a local Ray: equal judgements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from every_command import arguments, judgements_of, write_rows
from judge_double import JudgeDouble

from open_instruct_flip.commands.main import run
from open_instruct_flip.eval import on_ray

ray = pytest.importorskip("ray", reason="Ray Data is optional: pip install -e '.[ray]'")


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_ray_judges_what_one_process_judges(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All commands judge by the same code; this one in two passes.
    monkeypatch.setattr(on_ray, "ITEMS_PER_PIECE", 8)
    double, data = judge_double(), write_rows(tmp_path / "in.jsonl")
    assert run(arguments("attacks", data, tmp_path / "one", double.api_base)) == 0
    assert run(arguments("attacks", data, tmp_path / "ray", double.api_base, "--ray", "--ray_workers", "2")) == 0
    assert judgements_of(tmp_path / "ray") == judgements_of(tmp_path / "one")
