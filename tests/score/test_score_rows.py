"""Shapes of input rows, and what is wrong with those that can't be judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.files import Row, RowSource, Start, read_file, read_rows
from open_instruct_flip.score.groups import group_of, read_groups
from open_instruct_flip.score.on_ray import ROWS_PER_PIECE, split

USER = {"role": "user", "content": "Name a colour."}
ANSWER = {"role": "assistant", "content": "Blue."}


def read(columns: dict[str, Any]) -> tuple[list[Any], list[str], str]:
    group = group_of(Row("in.jsonl", 8, columns), 7)
    return group.conversation, group.responses, group.fault


@pytest.mark.parametrize(
    ("columns", "conversation", "responses"),
    [
        ({"prompt": "Name a colour.", "response": "Blue."}, [USER], ["Blue."]),
        ({"prompt": "Name a colour.", "responses": ["Blue.", "", "Red."]}, [USER], ["Blue.", "", "Red."]),
        ({"prompt": [USER], "response": "Blue."}, [USER], ["Blue."]),
        ({"messages": [USER], "responses": ["Blue."]}, [USER], ["Blue."]),
        ({"messages": [USER], "responses": ["Blue."], "response": None, "prompt": None}, [USER], ["Blue."]),
        ({"messages": [USER, ANSWER]}, [USER], ["Blue."]),
        ({"messages": [USER, ANSWER, USER, ANSWER]}, [USER, ANSWER, USER], ["Blue."]),
        ({"messages": [{**USER, "language": "English"}], "response": "Blue."}, [USER], ["Blue."]),
        ({"conversation": [USER, ANSWER]}, [USER], ["Blue."]),
        (
            {"conversations": [{"from": "human", "value": "Name a colour."}, {"from": "gpt", "value": "Blue."}]},
            [USER],
            ["Blue."],
        ),
        (
            {"instruction": "Name a colour.", "input": "of the sky", "output": "Blue."},
            [{"role": "user", "content": "Name a colour.\n\nof the sky"}],
            ["Blue."],
        ),
    ],
)
def test_shapes_that_are_read(columns: dict[str, Any], conversation: list[Any], responses: list[str]) -> None:
    assert read(columns) == (conversation, responses, "")


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({}, "none of the columns"),
        ({"prompt": "Name a colour."}, "none of responses, response"),
        ({"messages": [USER]}, "none of responses, response"),
        ({"messages": [USER, ANSWER], "response": "Blue."}, "must end with a user turn"),
        ({"messages": [], "response": "Blue."}, "messages is no list of turns"),
        ({"messages": 5, "response": "Blue."}, "messages is no list of turns"),
        ({"messages": ["hello"], "response": "Blue."}, "messages is no list of turns"),
        ({"messages": [{"role": "user"}], "response": "Blue."}, "turn 0 has a content that is no text"),
        ({"messages": [{"role": ["user"], "content": "x"}, USER], "response": "Blue."}, "turn 0 has the role ['user']"),
        ({"messages": [{"role": "user", "content": None}], "response": "Blue."}, "content that is no text"),
        ({"messages": [{"role": "assistant", "content": "Blue."}]}, "conversation is empty"),
        ({"messages": [USER, {"role": "assistant"}]}, "turn 1 has a content that is no text"),
        ({"prompt": "Name a colour.", "responses": []}, "'responses' is empty"),
        ({"prompt": "Name a colour.", "responses": "Blue."}, "'responses' is no list but str"),
        ({"prompt": "Name a colour.", "responses": ["Blue.", 3]}, "response 1 is no text but int"),
    ],
)
def test_shapes_that_are_not(columns: dict[str, Any], fault: str) -> None:
    assert fault in read(columns)[2]


def test_the_columns_given_are_left_as_they_were() -> None:
    columns = {"messages": [USER, ANSWER]}
    read(columns)
    assert columns == {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(("own", "row_id"), [(None, 7), ("a", "a"), (0, 0), (1.5, "1.5"), (["x"], "['x']")])
def test_ids(own: Any, row_id: Any) -> None:
    assert group_of(Row("in.jsonl", 8, {"id": own, "prompt": "p", "response": "r"}), 7).id == row_id


@pytest.mark.parametrize(
    "line", [b"{not json", b"[1]", b"\xff\xfe", b"null", b'{"a":' * 100_000, b'{"prompt": "p", "response": "\xff"}']
)
def test_a_line_that_is_no_row_is_kept_with_its_place(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'\n{"prompt": "p", "response": "r"}\n' + line + b'\n{"prompt": "p", "response": "r"}')
    rows = list(read_groups(read_rows(file)))
    assert [(row.id, row.place, bool(row.fault)) for row in rows] == [
        (0, f"{file}:2", False),
        (1, f"{file}:3", True),
        (2, f"{file}:4", False),
    ]
    assert rows[-1].position == RowSource.find(file).size()


@pytest.mark.parametrize("name", ["in.csv", "in"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"is no \.jsonl, .*\.parquet"):
        read_rows(tmp_path / name)


def test_a_missing_file_and_a_broken_parquet_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder: .*gone\.jsonl"):
        read_rows(tmp_path / "gone.jsonl")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for read_it in (lambda path: RowSource.find(path).size(), lambda path: next(read_rows(path))):
        with pytest.raises(UsageError, match=r"broken\.parquet is no readable parquet"):
            read_it(tmp_path / "broken.parquet")


@pytest.fixture(params=["jsonl", "parquet"])
def long_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    rows = [{"prompt": f"prompt {n}", "response": f"response {n}"} for n in range(2 * ROWS_PER_PIECE + 300)]
    path = tmp_path / f"in.{request.param}"
    if request.param == "jsonl":
        path.write_text("\n\n".join(map(json.dumps, rows)))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=300)
    return path


@pytest.mark.parametrize("num_done", [0, 1, 299, 300, 700])
def test_pieces_hold_every_row_once(long_file: Path, num_done: int) -> None:
    in_pieces = []
    for start, num_rows in split(long_file, num_done):
        piece = [row for _, row in zip(range(num_rows), read_file(long_file, None, start), strict=False)]
        assert len(piece) == num_rows
        in_pieces += piece
    assert in_pieces == list(read_rows(long_file))[num_done:]


def test_reading_may_start_behind_the_end(long_file: Path) -> None:
    size = long_file.stat().st_size
    assert list(read_file(long_file, None, Start(10_000, 10_000, size))) == []
