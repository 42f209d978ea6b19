"""`flip data validate`: its table and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from open_instruct_flip.commands.main import run

GOOD = {"messages": [{"role": "user", "content": "Name a river [/b]."}], "ground_truth": "Name a river [/b].",
        "dataset": "general-flip"}  # fmt: skip


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def validate(path: Path, rows: list[dict[str, Any]], *options: str) -> int:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return run(["data", "validate", str(path), *options])


def test_a_good_dataset_is_0_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.jsonl"
    assert validate(path, [GOOD]) == 0
    assert capsys.readouterr().out == f"{path}: nothing to complain about\n"


def test_an_error_is_1_with_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [GOOD | {"dataset": "[bold]nobody"} for _ in range(15)]
    assert validate(tmp_path / "data.jsonl", rows) == 1
    table = capsys.readouterr().out
    assert "unknown_label" in table
    assert "'[bold]nobody'" in table
    assert "15" in table
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 ..." in table


def test_a_warning_is_0_unless_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(tmp_path / "data.jsonl", [GOOD, GOOD]) == 0
    assert "duplicate" in capsys.readouterr().out
    assert validate(tmp_path / "data.jsonl", [GOOD, GOOD], "--strict") == 1


def test_strict_has_nothing_to_say_of_a_clean_dataset(tmp_path: Path) -> None:
    assert validate(tmp_path / "data.jsonl", [GOOD], "--strict") == 0


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        ({"role": None, "content": "Hi"}, "messages"),
        ({"role": ["user"], "content": "Hi"}, "messages"),
        ({"role": "user", "content": "Name a \ud83d river."}, "surrogate"),
    ],
)
def test_odd_turns_are_findings(
    tmp_path: Path, turn: dict[str, Any], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [GOOD | {"messages": [turn, *GOOD["messages"]]}]
    assert validate(tmp_path / "data.jsonl", rows, "--json") == 1
    assert kind in {finding["kind"] for finding in json.loads(capsys.readouterr().out)}


def test_labels_and_remap(tmp_path: Path) -> None:
    rows = [GOOD | {"dataset": "mine"}]
    assert validate(tmp_path / "data.jsonl", rows) == 1
    assert validate(tmp_path / "data.jsonl", rows, "--label", "mine") == 0
    assert validate(tmp_path / "data.jsonl", rows, "--remap_verifier", "mine=general-flip") == 0


WRONG_USE = [
    (["--remap_verifier", "mine"], "--remap_verifier takes old=new"),
    (["--max_prompt_token_length", "9"], "go together"),
    (["--tokenizer", "some/model"], "go together"),
    (["--split", "test"], "only has the split 'train'"),
    (["--flip_target", "first_user"], "--flip_target"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_USE)
def test_wrong_use_is_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert validate(tmp_path / "data.jsonl", [GOOD], *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_findings_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.jsonl"
    assert validate(path, [GOOD, GOOD | {"ground_truth": "x"}], "--json") == 1
    error, warning = json.loads(capsys.readouterr().out)
    assert (error["kind"], error["severity"], error["rows"], error["source"]) == (
        "ground_truth",
        "error",
        [2],
        str(path),
    )
    assert (warning["kind"], warning["severity"]) == ("duplicate", "warning")
    assert validate(path, [GOOD], "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
