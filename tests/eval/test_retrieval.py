"""`flip eval retrieval` over real sockets: whether a judge finds a response's own instruction among others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_double import JudgeDouble

from open_instruct_flip.commands.main import run

WORDS = ("soil", "rain", "wheat", "clay", "frost", "plough", "seed", "barn")


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    rows = [{"prompt": f"write of {word}", "response": f"here is {word}x"} for word in WORDS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def summary_of(data: Path, url: str, *options: str) -> dict[str, Any]:
    out = data.with_name("out")
    judge = [
        "--llm_judge_model",
        "hosted_vllm/judge",
        "--api_base",
        url,
        "--judge_transport",
        "direct",
        "--reply_contract",
        "free",
    ]
    assert run(["eval", "retrieval", str(data), "--out", str(out), "--others", "3", *judge, *options]) == 0
    return json.loads((out / "summary.json").read_text())["results"]["retrieval"]


def named(body: dict[str, Any]) -> str:
    """The word of the response, told from the instructions' by its x."""
    return re.findall(r"here is (\w+)x", body["messages"][-1]["content"])[-1]


def test_a_judge_that_infers_finds_its_own_and_is_asked_once(
    judge_double: Callable[..., JudgeDouble], answered: Path
) -> None:
    def reply(body: dict[str, Any]) -> str:
        word = named(body)
        return json.dumps({"instruction": f"write of {word}" if word != "soil" else "write of tulips"})

    double = judge_double(reply=reply)
    result = summary_of(answered, double.api_base)["flip"]
    assert double.num_requests == len(WORDS)
    # Of soil nothing is said: its own and the three others are all as near, and a tie is not found.
    assert result["overall"]["strict"] == pytest.approx(7 / 8)
    assert result["overall"]["official"] == pytest.approx((7 + 1 / 4) / 8)
    assert result["overall"]["reciprocal_rank"] == pytest.approx((7 + 1 / 2.5) / 8)
    assert result["baselines"]["random"]["overall"]["strict"] == 0.25


def test_another_judge_scores_every_instruction_of_the_line_up(
    judge_double: Callable[..., JudgeDouble], answered: Path
) -> None:
    def reply(body: dict[str, Any]) -> str:
        return json.dumps({"score": 9 if f"write of {named(body)}" in body["messages"][-1]["content"] else 2})

    double = judge_double(reply=reply)
    result = summary_of(answered, double.api_base, "--judge", "pointwise")["pointwise"]
    assert double.num_requests == 4 * len(WORDS)
    assert result["overall"]["strict"] == 1.0


def test_what_is_inferred_is_compared_by_the_measure_of_the_judge(
    judge_double: Callable[..., JudgeDouble], answered: Path
) -> None:
    double = judge_double(reply=lambda body: json.dumps({"instruction": f"{named(body)}ish"}))
    assert summary_of(answered, double.api_base)["flip"]["overall"]["strict"] == 0.0, "no word is shared"
    found = summary_of(answered, double.api_base, "--similarity", "chrf", "--restart")["flip"]
    assert found["overall"]["strict"] == 1.0


def test_too_few_instructions_are_refused(answered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", "http://127.0.0.1:9/v1"]
    assert run(["eval", "retrieval", str(answered), "--others", "8", "--out", str(answered.parent / "out"), *url]) == 2
    assert "needs 9 different instructions, and there are 8" in capsys.readouterr().err
    assert not (answered.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--flip_target", "system"), "--flip_target system infers another one: leave it out"),
        (("--copy_guard", "penalize"), "--copy_guard penalize would change the scores of some judges only"),
    ],
)
def test_what_would_not_be_compared_alike_is_refused(
    options: tuple[str, ...], fault: str, answered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", "http://127.0.0.1:9/v1"]
    out = answered.parent / "out"
    assert run(["eval", "retrieval", str(answered), "--others", "3", "--out", str(out), *url, *options]) == 2
    assert fault in capsys.readouterr().err
    assert not out.exists()
