"""The path that Ray takes, with Ray's part played by a loop: pieces, what is kept, and limits."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_double import JudgeDouble
from scored import command, read_jsonl, without_latency

from open_instruct_flip.commands.main import run
from open_instruct_flip.score import on_ray

Start = Callable[..., JudgeDouble]


def one_after_the_other(ray: None, pieces: list[dict[str, int]], file: Path, judge: Any, config: Any) -> Iterator[Any]:
    scorer = on_ray.PieceScorer(str(file), *pickle.loads(pickle.dumps((judge, config))))
    for piece in pieces:
        batch = scorer({name: [value] for name, value in piece.items()})
        yield {name: column[0] for name, column in batch.items()}


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "ROWS_PER_PIECE", 16)
    monkeypatch.setattr(on_ray, "import_ray", lambda: None)
    monkeypatch.setattr(on_ray, "_scored", one_after_the_other)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"prompt": f"write about soil {n}", "responses": [f"soil {n}", f"loam {n}"]} for n in range(60)
    ]
    rows[40] = {"prompt": "unfit"}
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_pieces_make_the_same_output(source: Path, judge_double: Start) -> None:
    double, out = judge_double(), source.with_name("out.jsonl")
    assert run(command(source, source.with_name("one.jsonl"), double.api_base)) == 0
    wanted = without_latency(read_jsonl(source.with_name("one.jsonl")))
    assert run(command(source, source.with_name("few.jsonl"), double.api_base, options=["--ray", "--limit", "21"])) == 0
    assert without_latency(read_jsonl(source.with_name("few.jsonl"))) == wanted[:42]

    failing = judge_double(fault=lambda number, body: 422 if "loam 2" in json.dumps(body) else None)
    assert run(command(source, out, failing.api_base)) == 1
    partial = source.with_name("out.jsonl.partial")
    partial.write_bytes(b"".join(partial.read_bytes().splitlines(keepends=True)[:80]))  # as if it had been killed
    double.num_requests = 0
    assert run(command(source, out, double.api_base, options=["--ray"])) == 0
    assert without_latency(read_jsonl(out)) == wanted
    failed = {2, *range(20, 30)}
    assert double.num_requests == 2 * len(failed) + len(wanted) - 80 - 1, "all but the failed rows are kept"


def test_pieces_are_of_files_only(source: Path, judge_double: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(Path("-"), source.with_name("out.jsonl"), judge_double().api_base, options=["--ray"])) == 2
    assert "--ray reads a .jsonl or .parquet file in pieces" in capsys.readouterr().err
