"""Shapes of chat data, and `flip data convert`: what goes in comes out as RLVR rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_instruct_flip.commands.main import run
from open_instruct_flip.conversation import Message
from open_instruct_flip.data.convert import convert
from open_instruct_flip.data.prompts import conversation_key, read_prompt
from open_instruct_flip.data.validate import validate_dataset
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.rows.files import Row, read_rows
from open_instruct_flip.rows.parquet import ROWS_PER_GROUP
from open_instruct_flip.rows.shapes import BadRowError, is_encodable

BAD_ROWS = Path(__file__).parent / "wildchat_bad_rows.jsonl"

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "Name a river.\nAnd a lake."}
ANSWER = {"role": "assistant", "content": "The Rhine. Lake Constance."}
LAST = {"role": "user", "content": "Another pair, please."}

SHAPES: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    ("prompt", {"prompt": FIRST["content"]}, [FIRST]),
    ("prompt and system", {"prompt": FIRST["content"], "system": SYSTEM["content"]}, [SYSTEM, FIRST]),
    ("prompt as turns", {"prompt": [SYSTEM, FIRST]}, [SYSTEM, FIRST]),
    ("prompt as turns and system", {"prompt": [FIRST], "system": SYSTEM["content"]}, [SYSTEM, FIRST]),
    ("prompt as turns and the same system", {"prompt": [SYSTEM, FIRST], "system": SYSTEM["content"]}, [SYSTEM, FIRST]),
    (
        "ShareGPT and system",
        {"conversations": [{"from": "human", "value": FIRST["content"]}], "system": SYSTEM["content"]},
        [SYSTEM, FIRST],
    ),
    ("instruction", {"instruction": FIRST["content"]}, [FIRST]),
    ("question", {"question": FIRST["content"], "answer": "42"}, [FIRST]),
    (
        "Alpaca",
        {"instruction": "Shorten this.", "input": "A long\ntext", "output": "Text"},
        [{"role": "user", "content": "Shorten this.\n\nA long\ntext"}],
    ),
    ("Alpaca without input", {"instruction": FIRST["content"], "input": " ", "output": ""}, [FIRST]),
    ("Tulu", {"id": "1", "messages": [FIRST, ANSWER]}, [FIRST]),
    ("Tulu with several turns", {"messages": [SYSTEM, FIRST, ANSWER, LAST, ANSWER]}, [SYSTEM, FIRST, ANSWER, LAST]),
    ("RLVR", {"messages": [FIRST], "ground_truth": "x", "dataset": "general-quality", "prompt": None}, [FIRST]),
    (
        "ShareGPT",
        {
            "conversations": [
                {"from": "system", "value": SYSTEM["content"]},
                {"from": "human", "value": FIRST["content"]},
                {"from": "gpt", "value": ANSWER["content"]},
                {"from": "human", "value": LAST["content"]},
            ]
        },
        [SYSTEM, FIRST, ANSWER, LAST],
    ),
    ("WildChat", {"conversation": [{**FIRST, "toxic": False}, {**ANSWER, "turn_identifier": 3}]}, [FIRST]),
]


@pytest.mark.parametrize(("columns", "messages"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES])
def test_shapes(columns: dict[str, Any], messages: list[dict[str, str]]) -> None:
    assert list(read_prompt(columns, multi_turn=True).messages) == messages


def test_the_first_user_turn_keeps_the_system_prompt() -> None:
    prompt = read_prompt({"messages": [SYSTEM, FIRST, ANSWER, LAST]})
    assert list(prompt.messages) == [SYSTEM, FIRST]


BAD_COLUMNS = [
    ({}, "none of the columns"),
    ({"prompt": None, "messages": None}, "none of the columns"),
    ({"prompt": 7}, "no text but int"),
    ({"messages": "hello"}, "messages is no list of turns"),
    ({"messages": [SYSTEM, ANSWER]}, "no user turn"),
    ({"messages": [FIRST, {"role": "narrator", "content": "x"}, LAST]}, "turn 1 has the role 'narrator'"),
    ({"messages": [{"role": "user", "content": ["part"]}]}, "turn 0 has a content that is no text but list"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "no user turn"),
    ({"instruction": "a\udc00b"}, "surrogate"),
]


@pytest.mark.parametrize(("columns", "reason"), BAD_COLUMNS)
def test_what_fits_no_shape_is_refused_with_a_reason(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRowError, match=reason):
        read_prompt(columns, multi_turn=True)


TEXT = st.text().filter(is_encodable)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=5)


def messages_of(turns: list[tuple[str, str]], last: str) -> list[Message]:
    return [{"role": role, "content": content} for role, content in [*turns, ("user", last)]]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@settings(max_examples=30)
@given(conversations=st.lists(st.tuples(TURNS, TEXT), min_size=1, max_size=4))
def test_conversations_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, conversations: list[tuple[Any, str]]
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    sent = [messages_of(turns, last) for turns, last in conversations]
    rows = (Row("memory", number, {"messages": messages}) for number, messages in enumerate(sent, start=1))
    assert convert(rows, folder / f"once{suffix}") == len(sent)
    assert convert(read_rows(folder / f"once{suffix}"), folder / f"twice{suffix}") == len(sent)
    for name in ("once", "twice"):
        back = [row.columns for row in read_rows(folder / f"{name}{suffix}")]
        assert [row["messages"] for row in back] == sent
        assert [row["ground_truth"] for row in back] == [messages[-1]["content"] for messages in sent]


@given(TURNS, TEXT)
def test_roles_and_texts_make_the_key_and_case_and_white_space_do_not(turns: list[tuple[str, str]], last: str) -> None:
    messages = messages_of(turns, last)
    spaced = messages_of([(role, f" {content}\n") for role, content in turns], f"\t{last} ")
    assert conversation_key(messages) == conversation_key(spaced)
    assert conversation_key(messages) != conversation_key([*messages, messages[-1]])
    assert conversation_key(messages) != conversation_key(messages_of(turns, last + "x"))


def test_more_rows_than_fit_one_piece_keep_their_order(tmp_path: Path) -> None:
    count = 2 * ROWS_PER_GROUP + 3
    rows = (Row("memory", number, {"prompt": f"Prompt {number}"}) for number in range(count))
    assert convert(rows, tmp_path / "out.parquet", label="ifeval") == count
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table["ground_truth"].to_pylist() == [f"Prompt {number}" for number in range(count)]
    assert set(table["dataset"].to_pylist()) == {"ifeval"}


def test_a_failed_conversion_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    with pytest.raises(FlipError, match="bad rows"):
        convert(read_rows(BAD_ROWS), out)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_and_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        convert([], tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match=r"ends in \.jsonl or \.parquet"):
        convert([], tmp_path / "out.csv")
    assert convert([], tmp_path / "out.jsonl", overwrite=True) == 0
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_the_command_converts_json_and_skips_bad_rows_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "alpaca.json", tmp_path / "out.jsonl"
    source.write_text(json.dumps([columns for _, columns, _ in SHAPES] + [{"nothing": 1}]))
    assert run(["data", "convert", str(source), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"{source}:{len(SHAPES) + 1}: none of the columns" in error
    assert not out.exists()
    assert run(["data", "convert", str(source), "--out", str(out), "--skip_bad_rows"]) == 0
    captured = capsys.readouterr()
    assert f"{len(SHAPES)} rows, 1 skipped" in captured.out
    assert f"skipped {source}:{len(SHAPES) + 1}" in captured.err
    assert [finding for finding in validate_dataset(out) if finding.severity == "error"] == []


def test_the_command_takes_label_and_first_turn(tmp_path: Path) -> None:
    source, out = tmp_path / "chat.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"messages": [FIRST, ANSWER, LAST]}) + "\n")
    assert run(["data", "convert", str(source), "--out", str(out), "--first_turn", "--label", "general-quality"]) == 0
    expected = {"messages": [FIRST], "ground_truth": FIRST["content"], "dataset": "general-quality"}
    assert json.loads(out.read_text()) == expected


BROKEN_JSON = [
    ("[1, 2", "is not valid JSON"),
    ("[[]]", "is not a JSON object"),
    ('{"prompt": "hi"}', "1 rows, 0 skipped"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_JSON)
def test_json_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (tmp_path / "in.json").write_text(text)
    run(["data", "convert", str(tmp_path / "in.json"), "--out", str(tmp_path / "out.jsonl")])
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


# What Open Instruct's mixer takes: the fork that trained on the authors' sets finds the instruction in the prompt, so
# that nothing holds their ground truth to it, and takes lists of labels and of ground truths as well as texts.
AUTHORS_ROWS = [
    {"messages": [FIRST], "ground_truth": FIRST["content"], "dataset": "general-flip"},
    {"messages": [FIRST, ANSWER, LAST], "ground_truth": "", "dataset": "general-flip"},
    {"messages": [SYSTEM, FIRST, ANSWER], "ground_truth": ANSWER["content"], "dataset": "general-quality"},
    {"messages": [SYSTEM, LAST], "ground_truth": ["a reference"], "dataset": ["general-quality_ref"], "id": "7"},
    {"messages": [LAST], "ground_truth": None, "dataset": "general-flip", "original_dataset": "wildchat"},
]


@pytest.mark.parametrize("label", ["general-flip", "general-quality"])
def test_the_authors_training_sets_pass_validation_once_converted(tmp_path: Path, label: str) -> None:
    source, out = tmp_path / "authors.jsonl", tmp_path / "out.parquet"
    source.write_text("".join(json.dumps(row) + "\n" for row in AUTHORS_ROWS))
    assert run(["data", "convert", str(source), "--out", str(out), "--label", label]) == 0
    assert validate_dataset(out) == []
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["ground_truth"] for row in rows] == [
        *(FIRST["content"], LAST["content"], FIRST["content"], LAST["content"], LAST["content"])
    ]
    assert {row["dataset"] for row in rows} == {label}


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "elsewhere" / "rows.jsonl")
    convert([Row("memory", 1, {"prompt": "Name a river."})], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").is_symlink()
    assert json.loads((tmp_path / "elsewhere" / "rows.jsonl").read_text())["ground_truth"] == "Name a river."


def test_two_system_prompts_that_differ_are_a_bad_row() -> None:
    with pytest.raises(BadRowError, match="another system prompt than the column beside them"):
        read_prompt({"messages": [SYSTEM, FIRST], "system": "Be long."}, multi_turn=True)


def test_a_turn_without_a_role_is_a_bad_row_and_no_traceback() -> None:
    with pytest.raises(BadRowError, match="turn 0 has the role"):
        read_prompt({"messages": [{"role": ["system"], "content": "x"}, FIRST]}, multi_turn=True)
