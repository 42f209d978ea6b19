"""The same on a local Ray: equal judgements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
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
    monkeypatch.setattr(on_ray, "ITEMS_PER_PIECE", 8)
    double, data = judge_double(), tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"write about soil {n}", "chosen": f"soil {n}", "rejected": f"loam {n}"} for n in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def judgements(out: str, *options: str) -> list[dict[str, Any]]:
        judge = [
            "--llm_judge_model",
            "hosted_vllm/judge",
            "--api_base",
            double.api_base,
            "--judge_transport",
            "direct",
            "--reply_contract",
            "free",
        ]
        assert run(["eval", "run", "pairs", "--data", str(data), "--out", str(tmp_path / out), *judge, *options]) == 0
        lines = (tmp_path / out / "judgements.jsonl").read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "latency_s"} for line in lines]

    wanted = judgements("one")
    assert len(wanted) == 40
    assert judgements("ray", "--ray", "--ray_workers", "2") == wanted
