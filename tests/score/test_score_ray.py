"""The same on a local Ray: equal output, and resumed like a run without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_double import JudgeDouble
from scored import command, read_jsonl, without_latency

from open_instruct_flip.commands.main import run
from open_instruct_flip.score import on_ray

ray = pytest.importorskip("ray", reason="Ray Data is optional: pip install -e '.[ray]'")


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_ray_writes_what_one_process_writes(
    judge_double: Callable[..., JudgeDouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "ROWS_PER_PIECE", 16)
    double = judge_double()
    rows = [{"prompt": f"write about soil {n}", "responses": [f"soil {n}", f"loam {n}"]} for n in range(60)]
    rows[40] = {"prompt": "unfit"}
    source, out = tmp_path / "in.jsonl", tmp_path / "ray.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(command(source, tmp_path / "one.jsonl", double.api_base)) == 0
    wanted = read_jsonl(tmp_path / "one.jsonl")

    # What a run without Ray has left is taken over: its settings are the same.
    stopped = judge_double(fault=lambda number, body: 401 if number > 30 else None)
    assert run(command(source, out, stopped.api_base)) == 1
    kept = len(read_jsonl(tmp_path / "ray.jsonl.partial"))
    double.num_requests = 0
    assert run(command(source, out, double.api_base, options=["--ray", "--ray_workers", "2"])) == 0
    assert without_latency(read_jsonl(out)) == without_latency(wanted)
    assert double.num_requests < len(wanted) - kept + 2

    dead = judge_double(fault=lambda number, body: 401)
    other = tmp_path / "other.jsonl"
    assert run(command(source, other, dead.api_base, options=["--ray"])) == 1
    assert not other.exists()
