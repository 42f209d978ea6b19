"""`flip score` with everything around it: pipes, packed files, the hub, limits, summaries, links, full disks."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
from judge_double import JudgeDouble
from scored import command, read_jsonl, without_latency

from open_instruct_flip.commands.main import run
from open_instruct_flip.local.models import model_path

Score = Callable[..., int]
Start = Callable[..., JudgeDouble]
ROWS = [{"prompt": f"write about soil {n}", "response": f"soil and loam {n}"} for n in range(12)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture(autouse=True)
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(LINES)
    return path


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_limit_scores_the_first_rows_and_more_later(score: Score, tmp_path: Path, judge_double: Start) -> None:
    assert score("--limit", "5", out="five.jsonl") == 0
    assert [row["id"] for row in read_jsonl(tmp_path / "five.jsonl")] == list(range(5))
    failing = judge_double(fault=lambda number, body: 422 if "soil and loam 4" in str(body) else None)
    assert score("--limit", "5", url=failing.api_base) == 1
    assert score() == 0
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == list(range(12))


@pytest.mark.parametrize("judge", ["flip", "pointwise", "flip+pointwise"])
def test_a_dry_run_counts_what_a_run_then_sends_and_sends_nothing(
    judge: str, tmp_path: Path, source: Path, judge_double: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(LINES + json.dumps({"prompt": "write", "responses": ["soil", "loam"]}) + '\n{"prompt": "no"}\n')
    double = judge_double(reply=lambda body: json.dumps({"instruction": "soil", "score": 7}))
    options = ["--judge", judge, "--price_per_million", "1,2", "--max_tokens", "50"]
    given = command(source, tmp_path / "out.jsonl", double.api_base, options=options)
    assert run([*given, "--dry_run"]) == 0
    assert double.num_requests == 0
    assert not list(tmp_path.glob("out*"))
    said = capsys.readouterr().out
    assert said.startswith("14 responses to judge, 1 more can't be judged: ")
    requests, prompts, replies = (int(text.replace(",", "")) for text in re.findall(r"([\d,]+) (?:req|pro|rep)", said))
    assert f"cost about: {(prompts + 2 * replies) / 1e6:.4f}; " in said
    assert replies == 50 * requests
    assert run(given) == 0
    assert double.num_requests == requests


def test_a_limit_below_what_is_finished_loses_nothing(
    score: Score, tmp_path: Path, judge_double: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = judge_double(fault=lambda number, body: 422 if "soil and loam 4" in str(body) else None)
    assert score(url=failing.api_base) == 1
    assert score("--limit", "2") == 2
    assert "holds more rows than the input, or than --limit" in error_line(capsys)
    assert score() == 0
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 12


def test_packed_files_in_and_out(score: Score, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "in.jsonl.gz", "wt") as packed:
        packed.write(LINES)
    assert score() == score(source="in.jsonl.gz", out="packed.jsonl.gz") == 0
    with gzip.open(tmp_path / "packed.jsonl.gz") as packed:
        rows = [json.loads(line) for line in packed]
    assert without_latency(rows) == without_latency(read_jsonl(tmp_path / "out.jsonl"))
    assert not list(tmp_path.glob("*.partial*"))


def test_a_packed_file_that_breaks_off_is_one_line(
    score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(LINES.encode())[:-20])
    assert score(source="in.jsonl.gz") == 2
    assert "in.jsonl.gz is no complete gzip file" in error_line(capsys)


class Pipe(SimpleNamespace):
    """Stands for `sys.stdin`: click's runner replaces it, a plain call of `main` does not."""


def test_standard_input_and_output(
    tmp_path: Path, judge_double: Start, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from open_instruct_flip.commands.main import run

    url = judge_double().api_base
    monkeypatch.setattr("sys.stdin", Pipe(buffer=io.BytesIO(LINES.encode())))
    arguments = command(Path("-"), Path("-"), url)
    assert run(arguments) == 0
    written = capfdbinary.readouterr()
    assert [json.loads(line)["id"] for line in written.out.splitlines()] == list(range(12))
    assert b"reward, mean" in written.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert run([*arguments, "--json"]) == 2


def test_a_stream_is_not_gone_on_with(
    score: Score, tmp_path: Path, judge_double: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_instruct_flip.commands.main import run

    failing = judge_double(fault=lambda number, body: 422 if "soil and loam 4" in str(body) else None)
    for options, code in (([], 1), ([], 2), (["--restart"], 1)):
        monkeypatch.setattr("sys.stdin", Pipe(buffer=io.BytesIO(LINES.encode())))
        failing.num_requests = 0
        assert run(command(Path("-"), tmp_path / "out.jsonl", failing.api_base, options=options)) == code


def test_a_hub_dataset_is_read_at_its_commit(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, **options: Any) -> list[dict[str, Any]]:
        asked.update(options, name=name)
        return ROWS

    hub = SimpleNamespace(dataset_info=lambda name, revision: SimpleNamespace(sha="5fe1"))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("datasets.load_dataset_builder", lambda name, revision: SimpleNamespace(info=None))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    from open_instruct_flip.commands.main import run

    url = JudgeDouble().start()
    try:
        arguments = command(Path("org/name"), tmp_path / "out.jsonl", url.api_base, options=["--split", "test"])
        assert run(arguments) == 0
    finally:
        url.stop()
    assert (asked["name"], asked["split"], asked["revision"]) == ("org/name", "test", "5fe1")
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 12


def test_the_summary_beside_the_output_says_what_the_rewards_depend_on(score: Score, tmp_path: Path) -> None:
    assert score("--seed", "3") == 0
    summary = json.loads((tmp_path / "out.jsonl.summary.json").read_text())
    assert summary["settings"]["judge"] == "flip"
    assert summary["settings"]["llm_judge_model"] == "hosted_vllm/judge"
    assert summary["settings"]["seed"] == 3
    assert (summary["responses"], summary["rewards"]["count"], summary["failure_rate"]) == (12, 12, 0.0)
    rewards = [row["reward"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert summary["rewards"]["mean"] == pytest.approx(sum(rewards) / 12)
    assert summary["versions"]["open-instruct-flip"]


def test_the_summary_as_json(score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out.jsonl.summary.json").read_text())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ('{"instruction": "write about soil"}', "all 12 rewards are 0.857"),
        ('{"instruction": "nothing of that"}', "all 12 rewards are 0: see"),
        (lambda body: json.dumps({"instruction": "soil" if " 7" in str(body) else "no"}), None),
    ],
)
def test_rewards_that_say_nothing_are_warned_of(
    score: Score, judge_double: Start, capsys: pytest.CaptureFixture[str], reply: Any, said: str | None
) -> None:
    assert score(url=judge_double(reply=reply).api_base) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flip: warning: ")]
    assert [line for line in warnings if said and said in line] == warnings


def test_truncation_is_always_told_and_replies_on_demand(
    score: Score, tmp_path: Path, source: Path, judge_double: Start
) -> None:
    source.write_text(json.dumps({"prompt": "write about soil", "response": "soil " * 500}) + "\n" + LINES)
    url = judge_double(reply='{"instruction": "soil"}').api_base
    options = ["--max_response_chars", "300", "--keep_replies"]
    assert score(*options, url=url) == score(*options, url=url, out="out.parquet") == 0
    for rows in (read_jsonl(tmp_path / "out.jsonl"), pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()):
        assert [row["truncated"] for row in rows] == [True] + [False] * 12
        assert {row["reply"] for row in rows} == {'{"instruction": "soil"}'}
    assert score(url=url, out="without.jsonl") == 0
    assert "reply" not in read_jsonl(tmp_path / "without.jsonl")[0]


def test_responses_that_start_inside_thinking_are_judged_by_their_answer(
    score: Score, tmp_path: Path, source: Path, judge_double: Start
) -> None:
    row = {"prompt": "write", "responses": ["They want a poem about soil.</think>Soil, o soil.", "They want a poem"]}
    source.write_text(json.dumps(row) + "\n")
    double = judge_double(reply='{"instruction": "write"}')
    assert score("--thinking_opened", url=double.api_base) == 0
    assert [row["reward"] for row in read_jsonl(tmp_path / "out.jsonl")] == [1.0, 0.0]
    assert "They want" not in json.dumps(double.bodies)


def test_copied_instructions_are_counted_told_of_and_penalized(
    score: Score, tmp_path: Path, source: Path, judge_double: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    instruction = "write a haiku about the sea"
    responses = [f"You ask: {instruction}.", "Waves.", "I shall write a haiku about the hills."]
    source.write_text(json.dumps({"prompt": instruction, "responses": responses}) + "\n")
    url = judge_double(reply=json.dumps({"instruction": instruction})).api_base
    assert score("--copy_guard", "penalize", url=url, out="out.parquet") == 0
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["copy_rate"], row["reward"]) for row in rows] == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    assert json.loads((tmp_path / "out.parquet.summary.json").read_text())["copy_rate"] == 0.5
    printed = capsys.readouterr()
    assert "the responses repeat 50% of their instructions' runs of 5 words" in printed.err
    assert "copy rate, mean" in printed.out + printed.err


@pytest.mark.parametrize("changed", [{"root": "another/model"}, {"max_model_len": 512}])
def test_another_model_of_the_same_name_is_seen(
    score: Score, judge_double: Start, capsys: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    about = {"root": "org/judge", "max_model_len": 4096}
    assert (
        score(
            url=judge_double(
                about=about, fault=lambda n, body: 422 if "soil and loam 4" in str(body) else None
            ).api_base
        )
        == 1
    )
    assert score(url=judge_double(about=about | changed).api_base) == 2
    assert "was made with other settings (servers ['judge (root org/judge, max_model_len 4096)']" in error_line(capsys)
    assert score(url=judge_double(about=about).api_base) == 0


def test_an_option_that_is_another_judges_is_refused_and_blocks_no_resume(
    score: Score, judge_double: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = judge_double(
        reply='{"score": 7}', fault=lambda number, body: 422 if "soil and loam 4" in str(body) else None
    )
    assert score("--judge", "pointwise", url=failing.api_base) == 1
    assert score("--judge", "pointwise", "--max_pairs", "3", url=failing.api_base) == 2
    assert "the pointwise judge has no --max_pairs" in error_line(capsys)
    assert score("--judge", "pointwise", url=judge_double(reply='{"score": 7}').api_base) == 0


def test_a_corrected_model_goes_on_where_no_reward_was_given(score: Score, judge_double: Start) -> None:
    refusing = judge_double(models=("judge", "jugde"), fault=lambda n, body: 422 if body["model"] == "jugde" else None)
    assert score("--llm_judge_model", "hosted_vllm/jugde", url=refusing.api_base) == 1
    assert score(url=refusing.api_base) == 0


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_an_input_changed_in_its_middle_is_seen(
    score: Score, tmp_path: Path, judge_double: Start, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    rows = [{"prompt": f"write about soil {n}", "response": "x" * 200_000 + f"{n:02}"} for n in range(40)]

    def write() -> None:
        if format == "jsonl":
            (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            table = pyarrow.Table.from_pylist(rows)
            pyarrow.parquet.write_table(table, tmp_path / "long.parquet", compression="none", use_dictionary=False)

    write()
    failing = judge_double(fault=lambda number, body: 422 if number > 30 else None)
    assert score(source=f"long.{format}", url=failing.api_base, out="o.jsonl") == 1
    rows[20]["response"] = rows[20]["response"].replace("x", "y", 1)
    write()
    assert score(source=f"long.{format}", out="o.jsonl") == 2
    assert "was made with other settings (input " in error_line(capsys)


def test_a_link_stays_a_link_and_its_target_is_written(score: Score, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "elsewhere" / "rewards.jsonl")
    assert score() == 0
    assert (tmp_path / "out.jsonl").is_symlink()
    assert len(read_jsonl(tmp_path / "elsewhere" / "rewards.jsonl")) == 12


def in_a_process(arguments: list[str], setup: str = "pass", **options: Any) -> subprocess.CompletedProcess[bytes]:
    program = f"import resource, sys; {setup}; from open_instruct_flip.commands.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, check=False, timeout=100, **options
    )


def test_a_full_disk_is_one_line_and_the_rest_is_kept(source: Path, judge_double: Start) -> None:
    source.write_text(LINES * 20)
    double, out = judge_double(), source.with_name("out.jsonl")
    limited = "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    ended = in_a_process(command(source, out, double.api_base), limited)
    lines = ended.stderr.decode().splitlines()
    assert ended.returncode == 1
    assert lines[-1].startswith(
        f"flip: error: {out}.partial can't be written: File too large; what is finished is kept"
    )
    assert "Traceback" not in ended.stderr.decode()
    double.num_requests = 0
    ended = in_a_process(command(source, out, double.api_base), stdout=subprocess.PIPE)
    assert ended.returncode == 0
    assert len(read_jsonl(out)) == 240
    assert double.num_requests < 240


def test_a_full_disk_behind_standard_output_is_one_line(source: Path, judge_double: Start) -> None:
    with open("/dev/full", "wb") as full:
        ended = in_a_process(command(source, Path("-"), judge_double().api_base), stdout=full)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr.decode()
    assert "No space left on device" in ended.stderr.decode().splitlines()[-1]


def test_a_terminal_that_knows_only_ascii_gets_an_answer(tmp_path: Path, source: Path, judge_double: Start) -> None:
    path = tmp_path / "día.jsonl"
    path.write_text(LINES)
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    out = tmp_path / "salida año.jsonl"
    ended = in_a_process(command(path, out, judge_double().api_base), stdout=subprocess.PIPE, env=environment)
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(read_jsonl(out)) == 12
    path.write_text(
        json.dumps({"messages": [{"role": "ü", "content": "ü"}], "ground_truth": "ü", "dataset": "ü"}) + "\n"
    )
    ended = in_a_process(["data", "validate", str(path)], stdout=subprocess.PIPE, env=environment)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr.decode()


def test_likelihood_scores_a_file_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    responses = ["A poem about the soil.", "Rain."]
    source.write_text(json.dumps({"prompt": "Write a short poem about the soil.", "responses": responses}) + "\n")
    judge = ["--judge_transport", "local", "--llm_judge_model", str(model_path("judge"))]
    assert run(["score", str(source), str(out), "--judge", "likelihood", "--normalise", "mean", *judge]) == 0
    assert all(0 < row["reward"] < 1 and row["error"] is None for row in read_jsonl(out))
    assert run(["score", str(source), str(tmp_path / "other.jsonl"), *judge]) == 2
    assert "the flip judge needs a server" in capsys.readouterr().err
