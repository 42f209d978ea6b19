"""`flip judge distil`: pairs from a judge server on a real socket, and what is asked and paid for."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_double import JudgeDouble

from open_instruct_flip.commands import judge_distil
from open_instruct_flip.commands.main import run
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.judge_training.distil import most_agreed
from open_instruct_flip.judge_training.pairs import draw_pairs
from open_instruct_flip.judge_training.unlabelled import read_unlabelled
from open_instruct_flip.rows.files import Row, RowSource

NOTES = [{"text": f"Note {number}: the {word} of the field."} for number, word in enumerate(("soil", "rain", "wind"))]
FRUITS = ("a red apple", "a green apple", "a green pear")


def inferred(body: dict[str, Any]) -> str:
    """A reply that names the note that the prompt shows."""
    found = re.search(r"Note (\d)", body["messages"][-1]["content"])
    return json.dumps({"instruction": f"Write note {found[1]}." if found else "Say it."})


@pytest.fixture
def server(judge_double: Any) -> JudgeDouble:
    double: JudgeDouble = judge_double(reply=inferred)
    return double


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def read(file: Path) -> list[dict[str, Any]]:
    """The rows by their responses, since they are written as they come."""
    return sorted(map(json.loads, file.read_text().splitlines()), key=lambda row: row.get("response", ""))


def distil(data: str, out: Path, server: JudgeDouble, *more: str, model: str = "judge") -> int:
    reached = ("--llm_judge_model", f"hosted_vllm/{model}", "--api_base", server.api_base, "--reply_contract", "schema")
    return run(["judge", "distil", data, str(out), *reached, "--judge_transport", "direct", *more])


def test_responses_become_pairs_that_train_reads(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    data, out = write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl"
    assert distil(data, out, server, "--yes") == 0
    rows = read(out)
    assert [row["messages"] for row in rows] == [[{"role": "user", "content": f"Write note {n}."}] for n in range(3)]
    assert [row["response"] for row in rows] == [row["text"] for row in NOTES]
    assert {row["inferred_by"] for row in rows} == {"hosted_vllm/judge"}
    assert json.loads((tmp_path / "pairs.jsonl.settings.json").read_text())["llm_judge_model"] == "hosted_vllm/judge"
    said = capsys.readouterr()
    assert "3 pairs, 0 of them from before; this run took 3 requests" in said.out
    assert "an instruction of their own" not in said.out
    config = JudgeTrainingConfig("base", "out", heldout=16)
    with pytest.raises(UsageError, match="3 different instructions are left of 3 rows"):
        draw_pairs(RowSource.find(out).rows(), config)


def test_the_cost_is_told_before_anything_is_sent(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    data, out = write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl"
    price = ("--price_per_million", "0,1000", "--max_tokens", "50")
    told = "3 responses to ask about: 3 requests, about "
    assert distil(data, out, server, *price, "--dry_run") == 0
    assert told in (said := capsys.readouterr().err)
    assert "at most 150 reply tokens; cost about: 0.1500" in said
    assert not out.exists()
    assert distil(data, out, server, *price) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "--yes sends the requests" in said
    assert server.num_requests == 0
    assert distil(data, out, server, "--yes", *price) == 0
    done = capsys.readouterr()
    assert told in done.err
    assert "300 prompt and 30 reply tokens; cost: 0.0300" in done.out


def test_inferences_that_repeat_their_response_are_counted(judge_double: Any, tmp_path: Path, capsys: Any) -> None:
    server = judge_double(reply=lambda body: inferred(body).replace("Write n", "N"))
    assert distil(write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl", server, "--yes") == 0
    assert "3 of the new ones only repeat their response" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code", "requests"), [("n", 130, 0), ("y", 0, 3)])
def test_a_terminal_is_asked(
    answer: str, code: int, requests: int, server: JudgeDouble, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(judge_distil.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: answer)
    assert distil(write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl", server) == code
    assert server.num_requests == requests


def test_the_same_command_asks_for_what_is_missing_alone(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    data, out = write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl"
    server.reply = lambda body: "" if "Note 1" in str(body) else inferred(body)
    assert distil(data, out, server, "--yes") == 1
    assert "1 responses have no pair; the first: " in (said := capsys.readouterr().err)
    assert "notes.jsonl:2: empty_reply" in said
    assert distil(data, out, server, "--yes", "--max_failure_rate", "1") == 0
    assert "flip: warning: 1 responses have no pair" in capsys.readouterr().err
    with out.open("a") as file:
        file.write('{"messages": [{"ro')  # a kill's half line
    server.reply = inferred
    asked = server.num_requests
    write(tmp_path / "notes.jsonl", [*NOTES, *NOTES])
    assert distil(data, out, server, "--yes") == 0
    assert "3 pairs, 2 of them from before; this run took 1 requests" in capsys.readouterr().out
    assert server.num_requests == asked + 1
    assert [row["messages"][0]["content"] for row in read(out)] == ["Write note 0.", "Write note 1.", "Write note 2."]
    assert distil(data, out, server, "--dry_run") == 0
    assert "0 responses to ask about: 0 requests" in capsys.readouterr().err
    assert distil(data, out, server) == 0, "nothing is left to be asked, and nothing to agree to"
    assert server.num_requests == asked + 1


def test_pairs_of_another_judge_are_not_gone_on_with(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    data, out = write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl"
    assert distil(data, out, server, "--yes") == 0
    assert distil(data, out, server, "--yes", "--temperature", "0.7") == 2
    assert "was made with other settings (temperature 0.0, now 0.7); give another OUT" in capsys.readouterr().err
    assert distil(data, tmp_path / "notes.jsonl", server, "--yes") == 2
    assert "notes.jsonl:1 is no row of this command; give another OUT" in capsys.readouterr().err
    assert read(tmp_path / "notes.jsonl") == NOTES
    (tmp_path / "pairs.jsonl.settings.json").unlink()
    assert distil(data, out, server, "--yes") == 2
    assert "has no readable pairs.jsonl.settings.json beside it" in capsys.readouterr().err
    assert len(read(out)) == 3


def test_an_instruction_that_is_known_is_compared_with_and_not_shown(
    server: JudgeDouble, tmp_path: Path, capsys: Any
) -> None:
    known = ("Write note 0.", "Write something.")
    rows = [{"prompt": text, "response": note["text"]} for text, note in zip(known, NOTES, strict=False)]
    assert distil(write(tmp_path / "chats.jsonl", rows), tmp_path / "pairs.jsonl", server, "--yes") == 0
    # "write note 0" against "write something": one of three and one of two words, F1 0.4.
    told = "2 of the new ones have an instruction of their own, with which the inferred one has an F1 of 0.70 ± 0.30"
    assert told in capsys.readouterr().out
    assert not any("Write something" in str(body) for body in server.bodies)


def test_system_prompts_are_inferred_from_the_turns_under_them(server: JudgeDouble, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Note 0"}]}]
    data, out = write(tmp_path / "chats.jsonl", rows), tmp_path / "pairs.jsonl"
    assert distil(data, out, server, "--yes", "--flip_target", "system") == 0
    (row,) = read(out)
    assert row["messages"] == [{"role": "system", "content": "Write note 0."}, {"role": "user", "content": "Hi"}]
    assert "Hi" in server.bodies[-1]["messages"][-1]["content"]
    asked = server.num_requests
    assert distil(data, out, server, "--flip_target", "system") == 0
    assert server.num_requests == asked


def test_several_inferences_are_kept_by_how_far_they_agree(judge_double: Any, tmp_path: Path) -> None:
    def several(body: dict[str, Any]) -> str:
        return json.dumps({"instruction": "Name it." if "Note 0" in str(body) else f"Name {len(str(body))}."})

    server = judge_double(reply=several)
    rows = [*NOTES, *({"text": f"Note 0, {number}"} for number in range(40))]
    data, out = write(tmp_path / "notes.jsonl", rows), tmp_path / "pairs.jsonl"
    sampled = ("--yes", "--num_samples", "3", "--temperature", "0.7")
    assert distil(data, out, server, *sampled) == 0
    assert {row["agreement"] for row in read(out)} == {1.0}
    pairs = [row | {"agreement": 0.25 if number < 3 else 1.0} for number, row in enumerate(read(out))]
    for number, row in enumerate(pairs):
        row["messages"] = [{"role": "user", "content": f"Write note {number}."}]
    config = JudgeTrainingConfig("base", "out", heldout=16, min_agreement=0.5)
    draw = draw_pairs(RowSource.find(write(out, pairs)).rows(), config)
    assert draw.dropped["disagreed"] == 3
    one_each = write(out, [row | {"agreement": None} for row in pairs])
    with pytest.raises(UsageError, match=r"pairs\.jsonl:1 tells no agreement for --min_agreement"):
        draw_pairs(RowSource.find(one_each).rows(), config)
    assert len(draw.train) + len(draw.heldout) == 40


@pytest.mark.parametrize(
    ("inferred", "num_samples", "expected"),
    [
        (["Sing."], 1, ("Sing.", 1.0)),
        (["Sing."], 3, ("Sing.", 0.0)),
        (["Sing.", "Sing."], 3, ("Sing.", 1 / 3)),
        (["Sing.", "Dance."], 2, ("Sing.", 0.0)),
        # F1 without articles: red apple with green apple 1/2, green apple with green pear 1/2, the others 0.
        (list(FRUITS), 3, ("a green apple", 1 / 3)),
    ],
)
def test_agreement_is_the_mean_f1_of_all_pairs_of_replies(
    inferred: list[str], num_samples: int, expected: tuple[str, float]
) -> None:
    text, agreement = most_agreed(inferred, num_samples)
    assert (text, pytest.approx(agreement)) == expected


@pytest.mark.parametrize(
    ("columns", "context", "response", "instruction"),
    [
        ({"text": "A"}, [], "A", None),
        ({"output": "A"}, [], "A", None),
        ({"responses": ["<think>no", "A", "B"]}, [], "A", None),
        ({"messages": [{"role": "assistant", "content": "A"}]}, [], "A", None),
        ({"instruction": "Q", "output": "A"}, [], "A", "Q"),
        ({"prompt": "Q", "output": "A"}, [], "A", "Q"),
        ({"prompt": "Q", "system": "S", "response": "A"}, [("system", "S")], "A", "Q"),
        ({"messages": [{"role": "system", "content": "S"}], "response": "A"}, [("system", "S")], "A", None),
        (
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}] * 2},
            [("user", "Q"), ("assistant", "A")],
            "A",
            "Q",
        ),
    ],
)
def test_a_response_is_found_with_what_a_judge_may_see(
    columns: dict[str, Any], context: list[tuple[str, str]], response: str, instruction: str | None
) -> None:
    (found,) = read_unlabelled([Row("f", 1, columns)], "last_user", Counter(), skip_bad_rows=False)
    assert [(turn["role"], turn["content"]) for turn in found.context] == context
    assert (found.response, found.instruction) == (response, instruction)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"title": "A"}, "chats.jsonl:1: the row has no response"),
        ({"response": 3}, "chats.jsonl:1: a response is no text"),
        ({"messages": [{"role": "user", "content": "Q"}, *2 * [{"role": "assistant", "content": "A"}]]}, "assistant's"),
        ({"prompt": "Q"}, "chats.jsonl holds no response"),
    ],
)
def test_rows_without_a_response_are_refused_with_their_place(
    row: dict[str, Any], says: str, server: JudgeDouble, tmp_path: Path, capsys: Any
) -> None:
    data = write(tmp_path / "chats.jsonl", [row])
    assert distil(data, tmp_path / "pairs.jsonl", server, "--yes") == 2
    assert says in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    if "holds no response" not in says:
        write(tmp_path / "chats.jsonl", [row, *NOTES])
        assert distil(data, tmp_path / "pairs.jsonl", server, "--yes", "--skip_bad_rows", "--limit", "2") == 0
        assert len(read(tmp_path / "pairs.jsonl")) == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--copy_guard", "mask"), "--copy_guard compares a response with its instruction, which nobody knows here"),
        (("--limit", "0"), "--limit must be above 0, got 0"),
        (("--max_failure_rate", "2"), "--max_failure_rate is a share between 0 and 1, got 2.0"),
        (("--price_per_million", "dear"), "--price_per_million is IN or IN,OUT"),
        (("--num_samples", "4"), "--num_samples 4 at --temperature 0"),
        (("--split", "test"), "which only has the split 'train'"),
        (("--cache_dir", "cache", "--temperature", "0.7"), "--cache_dir keeps no answers drawn at --temperature 0.7"),
    ],
)
def test_wrong_use_is_one_line_before_anything_is_sent(
    more: tuple[str, ...], says: str, server: JudgeDouble, tmp_path: Path, capsys: Any
) -> None:
    assert distil(write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.jsonl", server, "--yes", *more) == 2
    assert says in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert server.num_requests == 0


def test_a_name_that_says_another_format_is_refused(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    assert distil(write(tmp_path / "notes.jsonl", NOTES), tmp_path / "pairs.parquet", server, "--yes") == 2
    assert "give OUT a name that ends in .jsonl" in capsys.readouterr().err
    assert server.num_requests == 0


@pytest.mark.parametrize("content", ['{"response": "A"}', "notes of somebody"])
def test_a_file_without_a_whole_line_is_not_taken_for_a_torn_one(
    content: str, server: JudgeDouble, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "pairs.jsonl"
    out.write_text(content)
    assert distil(write(tmp_path / "notes.jsonl", NOTES), out, server, "--yes") == 2
    assert "has no readable pairs.jsonl.settings.json beside it" in capsys.readouterr().err
    assert out.read_text() == content
    (tmp_path / "pairs.jsonl.settings.json").write_text("[1]")
    assert distil(write(tmp_path / "notes.jsonl", NOTES), out, server, "--yes") == 2
    assert out.read_text() == content


def test_what_is_answered_behind_a_slow_response_is_kept(judge_double: Any, tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> str:
        if "Note 0" in str(body):
            raise RuntimeError("the server fails on this one")
        return inferred(body)

    server = judge_double(reply=reply)
    out = tmp_path / "pairs.jsonl"
    more = ("--yes", "--max_attempts", "1", "--outage_timeout_s", "1")
    assert distil(write(tmp_path / "notes.jsonl", NOTES), out, server, *more) == 1
    assert [row["response"] for row in read(out)] == [row["text"] for row in NOTES[1:]]


def test_rows_that_are_left_out_are_counted(server: JudgeDouble, tmp_path: Path, capsys: Any) -> None:
    rows = [*NOTES, {"prompt": "Q"}, {"text": " "}, {"title": "A"}]
    data = write(tmp_path / "notes.jsonl", rows)
    assert distil(data, tmp_path / "pairs.jsonl", server, "--yes", "--skip_bad_rows") == 0
    said = capsys.readouterr().err
    assert "left out: 2 rows without a response" in said
    assert "left out: 1 rows of no known shape" in said
