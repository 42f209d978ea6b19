"""`flip score` as it is used: what comes out, and with which exit code and line it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from judge_double import JudgeDouble, varied_reply
from scored import read_jsonl, without_latency

from open_instruct_flip.commands.main import run

Score = Callable[..., int]
NO_PROMPT = (
    "none of the columns conversation, conversations, messages, prompt, instruction, question, query has a value"
)
GOOD = {"prompt": "write a poem about soil", "responses": ["Soil, o soil.", "Warm and red."]}


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_one_row_per_response_in_order(score: Score, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    write(tmp_path / "in.jsonl", {**GOOD, "id": "first"}, {"messages": chat}, GOOD)
    assert score() == 0
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["id"], row["index"]) for row in rows] == [("first", 0), ("first", 1), (1, 0), (2, 0), (2, 1)]
    assert list(rows[0]) == (
        [
            "id",
            "index",
            "reward",
            "inferred_instruction",
            "precision",
            "recall",
            "error",
            "detail",
            "truncated",
            "copy_rate",
            "overlap",
            "usage",
            "latency_s",
        ]
    )
    assert rows[0]["error"] is None
    assert any(0 < row["reward"] < 1 for row in rows)
    assert rows[0]["usage"] == {"prompt_tokens": 100, "completion_tokens": 10, "requests": 1}
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.jsonl", "out.jsonl.summary.json"}


def test_rows_that_cant_be_judged_stay(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.jsonl", {"id": "bad", "prompt": "p", "responses": ["a", 5]}, GOOD, {"response": "a"})
    assert score() == 0
    rows = read_jsonl(tmp_path / "out.jsonl")
    place = tmp_path / "in.jsonl"
    assert [(row["id"], row["index"], row["error"], row["detail"]) for row in rows] == [
        ("bad", 0, "invalid_input", f"{place}:1: response 1 is no text but int"),
        ("bad", 1, "invalid_input", f"{place}:1: response 1 is no text but int"),
        (1, 0, None, None),
        (1, 1, None, None),
        (2, 0, "invalid_input", f"{place}:3: {NO_PROMPT}"),
    ]
    assert last_line(capsys) == "flip: warning: 3 output rows are of input that can't be judged; `detail` says why"


def test_a_row_without_the_turn_to_infer_stays(score: Score, tmp_path: Path) -> None:
    system = [{"role": "system", "content": "Answer in verse."}, {"role": "user", "content": "What is soil?"}]
    write(tmp_path / "in.jsonl", {"messages": system, "response": "Soil, o soil."}, GOOD)
    assert score("--flip_target", "system") == 0
    assert [row["error"] for row in read_jsonl(tmp_path / "out.jsonl")] == [None, "invalid_input", "invalid_input"]


def test_a_group_that_the_judge_cant_judge_is_named(
    score: Score, judge_double: Callable[..., JudgeDouble], tmp_path: Path
) -> None:
    url = judge_double(reply='{"winner": "A"}').api_base
    write(tmp_path / "in.jsonl", GOOD, {"prompt": "write", "response": "alone"})
    assert score("--judge", "pairwise", url=url) == 0
    detail = read_jsonl(tmp_path / "out.jsonl")[-1]["detail"]
    assert detail.startswith(f"{tmp_path / 'in.jsonl'}:2: the pairwise judge")


@pytest.mark.parametrize(("ids", "kind"), [((5, 9), "int64"), (("a", 9), "string")])
def test_parquet_in_and_out(score: Score, tmp_path: Path, ids: tuple[Any, Any], kind: str) -> None:
    rows = [{**GOOD, "id": row_id} for row_id in ids] + [{"id": ids[0], "prompt": "no response"}]
    write(tmp_path / "in.jsonl", *rows)
    texts = [{**row, "id": row["id"] if kind == "int64" else str(row["id"])} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), tmp_path / "in.parquet")
    assert score() == score(out="out.parquet") == score(source="in.parquet", out="both.parquet") == 0
    wanted = without_latency(read_jsonl(tmp_path / "out.jsonl"))
    for row in wanted:
        row["id"] = row["id"] if kind == "int64" else str(row["id"])
        row["detail"] = row["detail"] and row["detail"].replace("in.jsonl", "in.FORMAT")
    for name, source in (("out.parquet", "in.jsonl"), ("both.parquet", "in.parquet")):
        table = pyarrow.parquet.read_table(tmp_path / name)
        assert str(table.schema.field("id").type) == kind
        scored = without_latency(table.to_pylist())
        for row in scored:
            row["detail"] = row["detail"] and row["detail"].replace(source, "in.FORMAT")
        assert scored == wanted
    assert sorted(path.name for path in tmp_path.glob("out.*")) == [
        *("out.jsonl", "out.jsonl.summary.json"),
        *("out.parquet", "out.parquet.summary.json"),
    ]


def test_the_summary_is_printed(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.jsonl", *[GOOD] * 3)
    assert score("--price_per_million", "1000,5000") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == str(tmp_path / "out.jsonl")
    for text in ("responses │ 6", "judge requests │ 6", "prompt tokens │ 600", "cost │ 0.9000", "failures │ 0 (0.00%)"):
        name, value = text.split(" │ ")
        assert any(name in line and line.rstrip(" │").endswith(value) for line in shown.splitlines()), text


def test_an_empty_file_is_an_empty_output(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl")
    assert score() == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_a_cached_run_asks_nothing(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", *[{**GOOD, "prompt": f"write {n}"} for n in range(5)])
    assert score("--cache_dir", str(tmp_path / "cache")) == 0
    assert score("--cache_dir", str(tmp_path / "cache"), out="again.jsonl") == 0
    first, again = read_jsonl(tmp_path / "out.jsonl"), read_jsonl(tmp_path / "again.jsonl")
    assert [row["reward"] for row in first] == [row["reward"] for row in again]
    # FLIP's judge sees the response alone: the two responses of the first row are those of every row.
    assert sum(row["usage"]["requests"] for row in first) >= 2
    assert sum(row["usage"]["requests"] for row in again) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--judge", "nobody"], "no judge is called 'nobody'"),
        (["--no_such_flag"], "No such option"),
        (["--max_failure_rate", "2"], "--max_failure_rate is a share"),
        (["--price_per_million", "cheap"], "--price_per_million"),
        (["--prompt_dir", "/no/such/folder"], "--prompt_dir /no/such/folder holds none of"),
        (["--cache_dir", "c", "--temperature", "0.7"], "set --seed, or 0"),
        (["--api_base", ""], "needs the URL"),
        (["--api_key_env", "NO_SUCH_KEY"], "NO_SUCH_KEY, which is not set"),
    ],
)
def test_wrong_use_is_one_line_and_2(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    assert score(*options) == 2
    line = last_line(capsys)
    assert line.startswith("flip: error: ")
    assert said in line
    assert not list(tmp_path.glob("out*"))


def test_a_prompt_folder_without_the_judges_prompt_is_wrong_use(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "prompts").mkdir()
    assert score("--prompt_dir", str(tmp_path / "prompts")) == 2


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("gone.jsonl", "out.jsonl", "no such file or folder"),
        ("in.jsonl", "out.csv", "ends in none of .jsonl, .jsonl.gz, .parquet"),
        ("in.jsonl", "in.jsonl", "is the input itself"),
        ("in.jsonl", "old.jsonl", "old.jsonl exists; --overwrite replaces it"),
    ],
)
def test_files_that_cant_be_used(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, out: str, said: str
) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "old.jsonl").write_text("precious")
    assert score(source=source, out=out) == 2
    assert said in last_line(capsys)
    assert (tmp_path / "old.jsonl").read_text() == "precious"


def test_overwrite_replaces(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "out.jsonl").write_text("old")
    assert score("--overwrite") == 0
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2


def test_a_judge_that_is_down_is_one_line_and_1(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert score(url=url) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"flip: error: no judge at {url} (Connection refused); start it with `flip serve judge MODEL`, "
        "or correct --api_base"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_another_model_is_1(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    assert score("--llm_judge_model", "hosted_vllm/other") == 1
    assert "serves no 'other' but judge" in last_line(capsys)


@pytest.mark.parametrize(
    ("failing", "options", "said"),
    [
        (
            2,
            [],
            "100.00% of the judgements failed, more than --max_failure_rate 0.05 allows, the first with rejected: ",
        ),
        (1, [], "50.00% of the judgements failed"),
        (1, ["--max_failure_rate", "0.5"], None),
        (2, ["--max_failure_rate", "1"], None),
    ],
)
def test_above_the_failure_rate_the_output_is_not_finished(
    score: Score,
    judge_double: Callable[..., JudgeDouble],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failing: int,
    options: list[str],
    said: str | None,
) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    rejected = GOOD["responses"][:failing]
    double = judge_double(fault=lambda number, body: 422 if any(text in str(body) for text in rejected) else None)
    assert score(*options, url=double.api_base) == (0 if said is None else 1)
    assert (tmp_path / "out.jsonl").exists() == (said is None)
    rows = read_jsonl(tmp_path / ("out.jsonl" if said is None else "out.jsonl.partial"))
    assert sum(row["error"] == "rejected" for row in rows) == failing
    if said is not None:
        error = last_line(capsys)
        assert said in error
        assert error.endswith(f"kept in {tmp_path / 'out.jsonl.partial'}, the same command goes on from there")
        assert score(url=judge_double().api_base) == 0
        assert [row["error"] for row in read_jsonl(tmp_path / "out.jsonl")] == [None, None]


def test_too_many_unreadable_replies_are_no_dead_end(
    score: Score, judge_double: Callable[..., JudgeDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    mute = judge_double(reply=lambda body: "no verdict" if "Warm and red." in str(body) else varied_reply(body))
    for out in ("out.jsonl", "accepted.jsonl"):
        assert score(out=out, url=mute.api_base) == 1
        said = last_line(capsys)
        for remedy in ("the same command goes on", "--reply_contract", "--restart", "--max_failure_rate"):
            assert remedy in said
    asked = mute.num_requests
    assert score("--max_failure_rate", "0.5", out="accepted.jsonl", url=mute.api_base) == 0
    assert mute.num_requests == asked
    assert score(url=judge_double().api_base) == 0
    assert [row["error"] for row in read_jsonl(tmp_path / "out.jsonl")] == [None, None]


def test_bad_rows_do_not_count_as_failures(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD, *[{"prompt": "no response"}] * 9)
    assert score("--max_failure_rate", "0") == 0


def test_input_without_any_row_to_judge_is_1(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.jsonl", {"prompt": "no response"})
    assert score() == 1
    assert last_line(capsys) == "flip: error: no row of the input can be judged; `detail` says why"


def test_help_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in ("--judge ", "--llm_judge_model", "--max_response_chars", "--cache_dir", "--restart", "--ray "):
        assert flag in shown
