"""`validate_dataset`: every kind of finding, on each way a dataset may lie."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from open_instruct_flip.data.validate import DatasetFinding, validate_dataset
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.registry import judge_names

TEXT = "Explain why bread rises.\nUse two short paragraphs."


def turn(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def row(**changes: Any) -> dict[str, Any]:
    return {"messages": [turn(TEXT)], "ground_truth": TEXT, "dataset": "general-flip"} | changes


def other(number: int) -> dict[str, Any]:
    text = f"Name {number} rivers in Europe and one city on each."
    return row(messages=[turn(text)], ground_truth=text)


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in rows), "utf-8")
    return path


def check(tmp_path: Path, rows: list[Any], **options: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    findings = validate_dataset(write_jsonl(tmp_path / "data.jsonl", rows), **options)
    return [(finding.kind, finding.severity, finding.rows) for finding in findings]


BAD_ROWS = [
    ("messages is no list", row(messages="hello"), "messages"),
    ("messages is empty", row(messages=[]), "messages"),
    ("turn without role", row(messages=[{"content": TEXT}]), "messages"),
    ("turn without content", row(messages=[{"role": "user"}]), "messages"),
    ("content is null", row(messages=[turn(None)]), "messages"),
    ("content is a list of parts", row(messages=[turn([{"type": "text", "text": TEXT}])]), "messages"),
    ("only an assistant turn", row(messages=[turn(TEXT, "assistant")]), "messages"),
    ("two answers at the end", row(messages=[turn(TEXT), turn("a", "assistant"), turn("b", "assistant")]), "messages"),
    ("no messages", {"ground_truth": TEXT, "dataset": "general-flip"}, "missing_column"),
    ("no ground truth", row(ground_truth=None), "missing_column"),
    ("no label", row(dataset=None), "missing_column"),
    ("role of another format", row(messages=[turn("x", "gpt"), turn(TEXT)]), "unknown_role"),
    ("blank instruction", row(messages=[turn(" \n")], ground_truth=" \n"), "empty_instruction"),
    ("nothing to compare", row(messages=[turn("?!")], ground_truth="?!"), "no_token"),
    ("first line only", row(ground_truth=TEXT.splitlines()[0]), "ground_truth"),
    ("white space differs", row(ground_truth=TEXT + " "), "ground_truth"),
    ("an earlier turn", row(messages=[turn(TEXT), turn("ok", "assistant"), turn("Shorter, please.")]), "ground_truth"),
    ("ground truth is a list", row(ground_truth=[TEXT]), "ground_truth"),
    ("unknown label", row(dataset="general-flop"), "unknown_label"),
    ("label is a number", row(dataset=3), "label_shape"),
    ("lists of different lengths", row(dataset=["general-flip", "ifeval"], ground_truth=[TEXT]), "label_shape"),
    ("row is a list", [1, 2], "unreadable"),
]


@pytest.mark.parametrize(("bad", "kind"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS])
def test_a_bad_row_is_an_error_with_its_number(tmp_path: Path, bad: Any, kind: str) -> None:
    found = check(tmp_path, [other(1), other(2), bad, other(3)])
    assert [finding for finding in found if finding[0] != "mixed_types"] == [(kind, "error", (3,))]
    assert {rows for _, _, rows in found} == {(3,)}


GOOD_ROWS = [
    row(),
    row(dataset="General-FLIP"),
    row(dataset="general-quality", ground_truth="any reference answer"),
    row(dataset="ifeval", ground_truth={"constraint": 1}),
    row(dataset=["general-flip", "ifeval"], ground_truth=[TEXT, "{}"]),
    row(messages=[turn("Be brief.", "system"), turn("Hi"), turn("Hello!", "assistant"), turn(TEXT)]),
    row(id=7, source="mine"),
]


@pytest.mark.parametrize("good", GOOD_ROWS)
def test_a_good_row_has_no_finding(tmp_path: Path, good: dict[str, Any]) -> None:
    assert check(tmp_path, [good]) == []


def test_line_numbers_count_broken_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = [json.dumps(other(1)).encode(), b"", b'{"messages": [', b"\xff\xfe", json.dumps(row(dataset="x")).encode()]
    path.write_bytes(b"\n".join(lines))
    found = {(f.kind, f.message.split()[-1]): f.rows for f in validate_dataset(path)}
    assert found[("unreadable", "JSON")] == (3,)
    assert found[("unreadable", "UTF-8")] == (4,)
    assert [f.rows for f in validate_dataset(path) if f.kind == "unknown_label"] == [(5,)]


def test_one_problem_of_many_rows_is_one_finding(tmp_path: Path) -> None:
    rows = [other(n) | {"dataset": "wildchat" if n % 2 else "general-flip"} for n in range(6)]
    (finding,) = validate_dataset(write_jsonl(tmp_path / "d.jsonl", rows))
    assert finding.rows == (2, 4, 6)
    assert "'wildchat'" in finding.message


def test_a_column_has_one_type(tmp_path: Path) -> None:
    rows = [other(1), row(dataset=["general-flip"], ground_truth=[TEXT]), other(2)]
    (finding, _) = validate_dataset(write_jsonl(tmp_path / "d.jsonl", rows))
    assert (finding.kind, finding.severity, finding.rows) == ("mixed_types", "error", (2,))
    assert finding.message == "ground_truth is a list here and a str in earlier rows"


def test_instructions_without_spaces_are_named_with_their_share_and_the_remedy(tmp_path: Path) -> None:
    chinese = row(messages=[turn("什么是土壤退化？")], ground_truth="什么是土壤退化？")
    (finding,) = validate_dataset(write_jsonl(tmp_path / "d.jsonl", [row(), chinese, other(1), other(2)]))
    assert (finding.kind, finding.severity, finding.rows) == ("no_spaces", "warning", (2,))
    assert "25.0% of the rows" in finding.message
    assert "--similarity chrf" in finding.message


def test_duplicates_differ_in_case_and_white_space_only(tmp_path: Path) -> None:
    shouted = TEXT.upper().replace("\n", "  ")
    rows = [row(), row(messages=[turn(shouted)], ground_truth=shouted), row(), other(1)]
    assert check(tmp_path, rows) == [("duplicate", "warning", (2, 3))]


def test_a_trailing_answer_is_dropped_as_open_instruct_does(tmp_path: Path) -> None:
    rows = [row(messages=[turn(TEXT), turn("It rises because of yeast.", "assistant")])]
    assert check(tmp_path, rows) == [("trailing_answer", "warning", (1,))]


def test_the_remap_serves_its_old_label_and_checks_it_as_the_new_one(tmp_path: Path) -> None:
    rows = [row(dataset="wildchat"), other(1) | {"dataset": "WildChat", "ground_truth": "something else"}]
    assert check(tmp_path, rows) == [("unknown_label", "error", (1,)), ("unknown_label", "error", (2,))]
    assert check(tmp_path, rows, remap_verifier="wildchat=general-flip") == [("ground_truth", "error", (2,))]
    assert check(tmp_path, rows, remap_verifier="wildchat=general-quality") == []


@pytest.mark.parametrize("remap", ["wildchat", "=general-flip", "wildchat=", "a=b=c", "wildchat=general-flop"])
def test_a_senseless_remap_is_refused(tmp_path: Path, remap: str) -> None:
    with pytest.raises(UsageError, match="--remap_verifier"):
        check(tmp_path, [row()], remap_verifier=remap)


def test_own_verifier_labels_replace_the_known_ones(tmp_path: Path) -> None:
    assert check(tmp_path, [row()], verifier_labels=["mine"]) == [("unknown_label", "error", (1,))]
    assert check(tmp_path, [row(dataset="MINE")], verifier_labels=["Mine"]) == []


def test_every_judge_of_the_registry_serves_its_label(tmp_path: Path) -> None:
    rows = [other(number) | {"dataset": f"general-{name}"} for number, name in enumerate(judge_names())]
    assert {"general-flip", "general-pointwise", "general-likelihood"} <= {row["dataset"] for row in rows}
    assert check(tmp_path, rows) == []


def test_the_system_prompt_as_target(tmp_path: Path) -> None:
    system = turn("Answer in French.", "system")
    rows = [
        row(messages=[system, turn("Where is the station?")], ground_truth="Answer in French."),
        row(messages=[system, turn(TEXT)]),
        row(),
    ]
    assert check(tmp_path, rows, flip_target="system") == [
        ("ground_truth", "error", (2,)),
        ("no_instruction", "error", (3,)),
    ]


def test_an_empty_dataset_is_an_error(tmp_path: Path) -> None:
    assert check(tmp_path, []) == [("no_rows", "error", ())]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet_and_folders_give_the_same_findings(tmp_path: Path) -> None:
    rows = [other(n) for n in range(600)] + [other(600) | {"dataset": "nobody"}]

    def found(path: Path) -> list[tuple[str, tuple[int, ...]]]:
        return [(finding.kind, finding.rows) for finding in validate_dataset(path)]

    expected = [("unknown_label", (601,))]
    assert found(write_jsonl(tmp_path / "file.jsonl", rows)) == expected
    assert found(write_parquet(tmp_path / "file.parquet", rows)) == expected
    assert found(write_parquet(tmp_path / "a" / "data" / "train-00000-of-00001.parquet", rows).parents[1]) == expected
    (tmp_path / "b").mkdir()
    assert found(write_jsonl(tmp_path / "b" / "part.jsonl", rows).parent) == expected


def test_a_folder_is_read_as_the_datasets_library_reads_it(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [other(1)])
    write_jsonl(tmp_path / "test.jsonl", [other(2), row(dataset="nobody")])
    assert validate_dataset(tmp_path) == []
    (finding,) = validate_dataset(tmp_path, split="test")
    assert (finding.source, finding.rows) == (str(tmp_path / "test.jsonl"), (2,))


WRONG_PATHS = [("nowhere/data.jsonl", "no such file"), ("./nowhere", "no such file"), ("/nowhere", "no such file")]


@pytest.mark.parametrize(("path", "message"), WRONG_PATHS)
def test_a_missing_file_is_named(path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validate_dataset(path)


def test_wrong_splits_formats_and_files_are_refused(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", [row()])
    with pytest.raises(UsageError, match="only has the split 'train'"):
        validate_dataset(data, split="test")
    with pytest.raises(UsageError, match="no split 'test'"):
        validate_dataset(tmp_path, split="test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="can't load the folder"):
        validate_dataset(tmp_path / "empty")
    (tmp_path / "data.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"is no \.jsonl"):
        validate_dataset(tmp_path / "data.csv")
    (tmp_path / "data.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UsageError, match="no readable parquet file"):
        validate_dataset(tmp_path / "data.parquet")


class Hub:
    """Stands for the hub's client: knows one dataset."""

    def dataset_info(self, name: str, revision: str | None) -> SimpleNamespace:
        if name != "org/data":
            raise ConnectionError("could not reach\nthe hub")
        return SimpleNamespace(sha=f"commit of {revision}")


@pytest.mark.parametrize("offline", [False, True])
def test_hub_rows_are_checked(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    asked = {}

    def load_dataset(name: str, **options: Any) -> list[dict[str, Any]]:
        asked.update(options, name=name)
        return [other(1), row(dataset="nobody")]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert validate_dataset("org/data") == [
        DatasetFinding(
            "unknown_label", "error", "no verifier serves the label 'nobody': its reward is 0", "org/data", (2,)
        )
    ]
    revision = None if offline else "commit of None"
    assert asked == {"name": "org/data", "split": "train", "revision": revision, "streaming": not offline}


def test_an_unknown_hub_name_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    with pytest.raises(
        UsageError, match=r"org/missing is no file or folder, and the hub says: .* could not reach the hub"
    ):
        validate_dataset("org/missing")


def test_a_dataset_that_is_not_in_the_cache_is_one_line_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="org/missing is no file or folder, and the datasets library says"):
        validate_dataset("org/missing")


class WordTokenizer:
    """Counts words; its chat template takes no system prompt."""

    chat_template = "a template"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> list[int]:
        from jinja2 import TemplateError

        if messages[0]["role"] == "system":
            raise TemplateError("System role not supported")
        return [0] * sum(len(message["content"].split()) for message in messages)


def test_prompt_lengths_and_chat_templates(tmp_path: Path) -> None:
    rows = [row(), other(1), row(messages=[turn("Be brief.", "system"), turn(TEXT)])]
    length = len(TEXT.split())
    assert check(tmp_path, rows, tokenizer=WordTokenizer(), max_prompt_token_length=length) == [
        ("chat_template", "error", (3,)),
        ("long_prompt", "warning", (2,)),
    ]
    found = check(tmp_path, rows[:2], tokenizer=WordTokenizer(), max_prompt_token_length=3)
    assert [kind for kind, _, _ in found] == ["nothing_left", "long_prompt"]


def test_a_tokenizer_without_template_or_file_is_refused(tmp_path: Path) -> None:
    bare = WordTokenizer()
    bare.chat_template = None  # type: ignore[assignment]  # a tokenizer without one
    with pytest.raises(UsageError, match="no chat template"):
        check(tmp_path, [row()], tokenizer=bare, max_prompt_token_length=9)
    with pytest.raises(UsageError, match="no tokenizer at"):
        check(tmp_path, [row()], tokenizer=str(tmp_path / "none"), max_prompt_token_length=9)
