"""`flip eval run` over real sockets: what it writes, goes on with, and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_double import JudgeDouble

from open_instruct_flip.commands.main import run

NUM_PAIRS = 12


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs whose right response is the longer one in all but the last three."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"name cause {n} of the loss of soil", "chosen": f"soil {n} is lost", "rejected": f"{n} no"}
        for n in range(NUM_PAIRS)
    ]
    for row in rows[-3:]:
        row["rejected"] = f"{row['chosen']} and more words than the right one has"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(data: Path, out: Path, url: str, *options: str) -> list[str]:
    quick = [
        "--judge_transport",
        "direct",
        "--max_concurrency",
        "4",
        "--retry_wait_s",
        "0.05",
        "--outage_timeout_s",
        "1",
    ]
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", url, "--reply_contract", "free"]
    return ["eval", "run", "pairs", "--data", str(data), "--out", str(out), *judge, *quick, *options]


def by_length(body: dict[str, Any]) -> str:
    """A pointwise judge that likes the shorter response of the pairs above."""
    return json.dumps({"score": 9 if "more words" not in body["messages"][-1]["content"] else 1})


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def judgements_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "judgements.jsonl").read_text().splitlines()]


def test_writes_each_judgement_and_figures_that_can_be_recomputed_from_them(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    url = judge_double().api_base
    assert run(arguments(pairs, out, url, "--judge", "flip", "--judge", "pointwise", "--price_per_million", "1")) == 0
    rows = judgements_of(out)
    assert len(rows) == 2 * 2 * NUM_PAIRS
    flip = [row for row in rows if row["judge"] == "flip"]
    wins = [a["score"] > b["score"] for a, b in zip(flip[::2], flip[1::2], strict=True)]
    summary = summary_of(out)
    result = summary["results"]["pairs"]["flip"]
    assert result["subsets"]["pairs"]["strict"] == pytest.approx(sum(wins) / NUM_PAIRS)
    assert (result["overall"]["n"], result["overall"]["failed"]) == (NUM_PAIRS, 0)
    assert result["baselines"]["random"]["overall"]["strict"] == 0.5
    assert result["baselines"]["longer"]["overall"]["strict"] == pytest.approx(9 / 12)
    assert result["by_length"]["right_longer"]["n"] == 9
    strata = {name: own["by_length"]["right_shorter"]["strict"] for name, own in result["baselines"].items()}
    assert (strata["random"], strata["shorter"], strata["longer"]) == (0.5, 1.0, 0.0)
    assert result["cost"]["cost_per_1000"] == pytest.approx(1000 * 110 / 1e6)
    assert summary["judges"]["flip"]["servers"] == ["judge"]
    # The double's replies hold no score: all of pointwise's judgements failed, and none counts as wrong.
    pointwise = summary["results"]["pairs"]["pointwise"]
    assert (pointwise["overall"]["n"], pointwise["overall"]["failed"]) == (0, NUM_PAIRS)
    assert pointwise["overall"]["strict"] is None
    assert pointwise["cost"]["unreadable"] == 1.0


def test_a_judge_that_sees_the_difference_is_ahead_of_one_that_does_not(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    double = judge_double(reply=by_length)
    assert run(arguments(pairs, out, double.api_base, "--judge", "pointwise")) == 0
    result = summary_of(out)["results"]["pairs"]["pointwise"]
    # Nine pairs tie at 9 and count as lost, or as half by the official rule; three are won.
    assert result["overall"]["strict"] == pytest.approx(3 / 12)
    assert result["overall"]["official"] == pytest.approx((3 + 9 / 2) / 12)
    assert result["by_length"]["right_shorter"]["strict"] == 1.0


def test_a_judge_of_one_reward_is_told_of(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double = judge_double(reply=by_length)
    assert run(arguments(pairs, tmp_path / "out", double.api_base, "--judge", "pointwise")) == 0
    assert summary_of(tmp_path / "out")["results"]["pairs"]["pointwise"]["commonest"] == {"reward": 0.9, "share": 7 / 8}
    assert "pointwise gives 88% of the responses the same reward, 0.9" in capsys.readouterr().err
    assert run(arguments(pairs, tmp_path / "few", double.api_base, "--judge", "pointwise", "--limit", "9")) == 0
    assert "the same reward" not in capsys.readouterr().err


def test_goes_on_where_it_stopped_and_judges_nothing_twice(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    dead = judge_double(fault=lambda number, body: 401 if number >= 10 else None)
    assert run(arguments(pairs, out, dead.api_base)) == 1
    assert "the same command" in capsys.readouterr().err
    with (out / "judgements.jsonl").open("a") as file:
        file.write('{"judge": "flip", "half a li')
    kept = len(judgements_of_whole_lines(out)) // 2 * 2
    assert 0 < kept < 2 * NUM_PAIRS
    double = judge_double()
    assert run(arguments(pairs, out, double.api_base)) == 0
    assert double.num_requests == 2 * NUM_PAIRS - kept
    finished = (out / "judgements.jsonl").read_bytes()
    assert run(arguments(pairs, out, double.api_base)) == 0
    assert double.num_requests == 2 * NUM_PAIRS - kept
    assert (out / "judgements.jsonl").read_bytes() == finished
    keys = [(row["item"], row["response_index"]) for row in judgements_of(out)]
    assert keys == [(str(n), index) for n in range(NUM_PAIRS) for index in (0, 1)]


def judgements_of_whole_lines(out: Path) -> list[bytes]:
    return [line for line in (out / "judgements.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def test_other_settings_are_refused_and_restart_begins_anew(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    url = judge_double().api_base
    assert run(arguments(pairs, out, url)) == 0
    before = (out / "judgements.jsonl").read_bytes()
    assert run(arguments(pairs, out, url, "--max_tokens", "99")) == 2
    assert "judges.flip.max_tokens 512, now 99" in capsys.readouterr().err
    assert (out / "judgements.jsonl").read_bytes() == before
    assert run(arguments(pairs, out, url, "--max_tokens", "99", "--restart")) == 0


def test_halves_share_no_item_and_keep_their_ids(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path
) -> None:
    url = judge_double().api_base
    ids = {}
    for half in ("even", "odd"):
        assert run(arguments(pairs, tmp_path / half, url, "--half", half)) == 0
        ids[half] = {row["item"] for row in judgements_of(tmp_path / half)}
    assert ids["even"] == {str(n) for n in range(0, NUM_PAIRS, 2)}
    assert ids["odd"] == {str(n) for n in range(1, NUM_PAIRS, 2)}


def test_a_dry_run_counts_what_a_run_then_sends_and_sends_nothing(
    judge_double: Callable[..., JudgeDouble], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double = judge_double(reply=lambda body: json.dumps({"winner": "A", "instruction": "soil"}))
    options = ("--judge", "flip", "--judge", "pairwise")
    assert run(arguments(pairs, tmp_path / "out", double.api_base, *options, "--dry_run")) == 0
    shown = [line.split("│") for line in capsys.readouterr().out.splitlines() if "flip" in line or "pairwise" in line]
    counted = {cells[1].strip(): int(cells[2]) for cells in shown}
    assert double.num_requests == 0
    assert not (tmp_path / "out").exists()
    assert run(arguments(pairs, tmp_path / "out", double.api_base, *options)) == 0
    assert double.num_requests == sum(counted.values())
    assert counted == {"flip": 2 * NUM_PAIRS, "pairwise": 2 * NUM_PAIRS}


def test_a_dry_run_counts_no_item_that_lacks_what_is_to_be_inferred(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(pairs, tmp_path / "out", "http://127.0.0.1:9/v1", "--flip_target", "system", "--dry_run")
    assert run(command) == 0
    (cells,) = [line.split("│") for line in capsys.readouterr().out.splitlines() if "flip" in line]
    assert int(cells[2]) == 0


@pytest.mark.parametrize(("judge", "requests"), [("likelihood", 3), ("flip+likelihood", 5)])
def test_a_dry_run_of_a_judge_that_only_reads_sends_nothing_either(
    judge: str,
    requests: int,
    judge_double: Callable[..., JudgeDouble],
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    double = judge_double()
    command = arguments(pairs, tmp_path / "out", double.api_base, "--judge", "flip", "--judge", judge, "--limit", "1")
    assert run([*command, "--dry_run"]) == 0
    shown = [line.split("│") for line in capsys.readouterr().out.splitlines() if judge[:10] in line]
    # The instruction without a response, and a second answer that shows where the first one starts.
    assert [int(cells[2]) for cells in shown] == [requests + 1]
    assert double.num_requests == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "soil", "chosen": "a"}, "there is no column 'rejected'"),
        ({"prompt": "soil", "chosen": [], "rejected": "b"}, "chosen holds no response"),
        ({"prompt": "soil", "chosen": "a", "rejected": ["b", "a"]}, "both chosen and rejected: 'a'"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "neither a text"),
        ({"prompt": "soil", "chosen": 3, "rejected": "b"}, "chosen is neither a text"),
        ("no json", "not valid JSON"),
    ],
)
def test_bad_rows_are_refused_with_their_place_before_anything_is_written(
    row: Any, reason: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pairs.open("a") as file:
        file.write(row if isinstance(row, str) else json.dumps(row))
    assert run(arguments(pairs, tmp_path / "out", "http://127.0.0.1:9/v1")) == 2
    error = capsys.readouterr().err
    assert f"pairs.jsonl:{NUM_PAIRS + 1}: " in error
    assert reason in error
    assert not (tmp_path / "out").exists()


def test_unknown_names_are_refused_with_those_that_exist(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = arguments(pairs, tmp_path / "out", "http://127.0.0.1:9/v1", "--subset", "loam")
    assert run(wrong) == 2
    assert f"--subset 'loam' is none of those in {pairs}: pairs" in capsys.readouterr().err
    wrong[2:] = ["llmbar", *wrong[3:-2], "--split", "test"]
    assert run(wrong) == 2
    assert "leave --split out" in capsys.readouterr().err
    wrong[2] = "loambench"
    assert run(wrong) == 2
    assert "rewardbench2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
