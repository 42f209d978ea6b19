"""From pairs to a judge: the commands on files, a tiny model that learns, a judge server on a real socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_masked_lm import save_tiny_masked_lm

from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.compare.history import read_run
from open_instruct_flip.errors import UsageError
from open_instruct_flip.esfp.config import TrainConfig
from open_instruct_flip.esfp.pairs import Pair, read_pairs
from open_instruct_flip.esfp.training import split_pairs
from open_instruct_flip.judges.esfp.judge import EsfpJudge
from open_instruct_flip.judges.esfp.slot import TEMPLATE, read_slot
from open_instruct_flip.judging import progress

pytest.importorskip("torch")

SUBJECTS = ("rain", "soil", "sky", "red", "blue", "a poem")
ADVERBS = ("warm", "cold", "short", "please")
PAIRS = [
    {"prompt": f"Name {a} {b}.", "chosen": f"It was {b} {a}.", "rejected": f"Nothing {b} {a}."}
    for a in SUBJECTS
    for b in ADVERBS
]
QUICK = ["--max_length", "64", "--batch_size", "4", "--learning_rate", "0.005", "--evals_per_epoch", "1"]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_masked_lm(tmp_path_factory.mktemp("base"), None))


def train(tmp_path: Path, base: str, rows: list[dict[str, Any]], *options: str) -> tuple[int, Path]:
    out = tmp_path / "trained"
    pairs = write(tmp_path / "pairs.jsonl", rows)
    return flip(["esfp", "train", pairs, "--base", base, "--out", str(out), *QUICK, *options]), out


def test_pairs_become_a_judge_that_prefers_what_they_prefer(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = train(tmp_path, base, PAIRS, "--no_explanations", "--margin", "1", "--epochs", "8")
    assert code == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    names = {file.name for file in out.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "esfp.json", "README.md", "run"} <= names
    assert not any(name.endswith(".bin") or name.startswith("checkpoint") for name in names)
    about = json.loads((out / "esfp.json").read_text())
    assert (about["positive"], about["negative"], about["max_length"]) == (["good"], ["bad"], 64)
    assert about["made_with"]["transformers"]
    run = read_run(out / "run")
    assert run.series("heldout_loss")[1][0] > min(run.series("heldout_loss")[1])
    assert "24 pairs" not in (card := (out / "README.md").read_text())
    assert "22 pairs trained on, 2 held out" in card

    unseen = [{"role": "user", "content": "Write a short poem."}]
    liked, disliked = EsfpJudge(esfp_model=str(out)).score_sync(unseen, ["It was sky.", "Nothing sky."])
    assert liked.score is not None
    assert disliked.score is not None
    assert liked.score > 0.5 > disliked.score

    rows = write(tmp_path / "in.jsonl", [{"messages": unseen, "responses": ["It was sky.", "Nothing sky."]}])
    scored = tmp_path / "out.jsonl"
    assert flip(["score", rows, str(scored), "--judge", "esfp", "--esfp_model", str(out)]) == 0
    assert [row["reward"] for row in read(scored)] == pytest.approx([liked.score, disliked.score], abs=1e-5)


def test_explanations_are_made_once_and_trained_on(base: str, tmp_path: Path, judge_double: Any) -> None:
    def explain(body: dict[str, Any]) -> str:
        text = body["messages"][1]["content"]
        return json.dumps({"explanation": "It misses every point." if "Nothing" in text else "It was fine."})

    server = judge_double(reply=explain)
    pairs, out = write(tmp_path / "pairs.jsonl", PAIRS[:6]), tmp_path / "explained.jsonl"
    command = ["esfp", "explain", pairs, str(out), "--llm_judge_model", "hosted_vllm/judge"]
    command += ["--api_base", server.api_base, "--judge_transport", "direct", "--reply_contract", "schema"]
    assert flip(command) == 0
    rows = read(out)
    assert [(row["chosen_explanation"], row["rejected_explanation"]) for row in rows] == [
        ("It was fine.", "It misses every point.")
    ] * 6
    assert sorted(row["chosen"] for row in rows) == sorted(row["chosen"] for row in PAIRS[:6])
    asked = server.num_requests
    assert asked == 12
    with out.open("a") as file:
        file.write('{"messages": [{"ro')  # a kill's half line
    write(tmp_path / "pairs.jsonl", PAIRS[:8])
    assert flip(command) == 0
    assert (server.num_requests - asked, len(read(out))) == (4, 8)
    server.models = ("other",)
    assert flip([*command[:5], "hosted_vllm/other", *command[6:]]) == 2
    server.models = ("judge",)
    assert flip([*command, "--reasoning"]) == 2
    assert (server.num_requests - asked, len(read(out))) == (4, 8)

    code, folder = train(tmp_path, base, read(out), "--epochs", "1")
    assert code == 0
    assert read_slot(folder).template == TEMPLATE
    judge = EsfpJudge("hosted_vllm/judge", server.api_base, esfp_model=str(folder), reply_contract="schema")
    (reward,) = judge.score_sync([{"role": "user", "content": "Name a colour."}], ["Red."])
    assert reward.score is not None
    assert reward.usage.requests == 1


def test_pairs_without_explanations_in_out_are_not_taken_for_explained(
    tmp_path: Path, judge_double: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = judge_double()
    pairs, out = write(tmp_path / "pairs.jsonl", PAIRS[:3]), write(tmp_path / "out.jsonl", PAIRS[:3])
    command = ["esfp", "explain", pairs, out, "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base]
    assert flip(command) == 2
    assert "out.jsonl:1 is no row of this command; give another OUT" in capsys.readouterr().err
    assert read(Path(out)) == PAIRS[:3]


def test_pairs_of_a_conversation_are_held_out_together(base: str, tmp_path: Path) -> None:
    rows = [pair | {"prompt": f"Name {SUBJECTS[number // 4]}."} for number, pair in enumerate(PAIRS)]
    code, out = train(tmp_path, base, rows, "--no_explanations", "--epochs", "1", "--heldout", "0.05")
    assert code == 0
    assert "20 pairs trained on, 4 held out" in (out / "README.md").read_text()


def test_a_log_shows_how_far_the_explaining_is(
    tmp_path: Path, judge_double: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_PERIOD_S", 1e-9)
    server = judge_double(reply=json.dumps({"explanation": "It was fine."}))
    pairs, out = write(tmp_path / "pairs.jsonl", PAIRS[:4]), str(tmp_path / "out.jsonl")
    command = ["esfp", "explain", pairs, out, "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base]
    assert flip([*command, "--reply_contract", "schema"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0].strip() for line in lines] == [f"{25 * n}% {2 * n} responses" for n in (1, 2, 3, 4)]


def test_pairs_of_one_conversation_alone_are_refused(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = train(tmp_path, base, [pair | {"prompt": "Name it."} for pair in PAIRS], "--no_explanations")
    assert code == 2
    assert "two conversations at least" in capsys.readouterr().err


def test_explanations_that_fail_are_told_and_asked_for_again(
    tmp_path: Path, judge_double: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = judge_double(
        reply=lambda body: "{}" if "Name rain cold." in str(body) else '{"explanation": "It was fine."}'
    )
    pairs, out = write(tmp_path / "pairs.jsonl", PAIRS[:3]), tmp_path / "explained.jsonl"
    command = ["esfp", "explain", pairs, str(out), "--llm_judge_model", "hosted_vllm/judge"]
    command += ["--api_base", server.api_base, "--judge_transport", "direct", "--reply_contract", "schema"]
    assert flip(command) == 1
    assert "1 pairs have none; the first: unreadable_reply" in capsys.readouterr().err
    assert {row["messages"][0]["content"] for row in read(out)} == {"Name rain warm.", "Name rain short."}
    server.reply = '{"explanation": "It was fine."}'
    assert flip(command) == 0
    assert len(read(out)) == 3


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "Hi", "chosen": "Red.", "rejected": "Red. "}, "chosen and rejected are the same response"),
        ({"prompt": "Hi", "chosen": "Red."}, "rejected missing or empty"),
        ({"prompt": "Hi", "chosen": "Red.", "rejected": " "}, "a response says nothing"),
        ({"prompt": "Hi", "chosen": 3, "rejected": "Red."}, "chosen is neither a text nor a list of turns"),
        ({"chosen": "Red.", "rejected": "Blue."}, "none of the columns"),
        (PAIRS[0], "2 of 2 pairs have no explanations"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_place(
    row: dict[str, Any], fault: str, base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = train(tmp_path, base, [PAIRS[1], row])
    assert (code, fault in (said := capsys.readouterr().err)) == (2, True), said
    assert "pairs.jsonl:2" in said or "explanations" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--positive", "unkind"], "'unkind' is 2 tokens"),
        (["--positive", "bad"], "none that is both"),
        (["--template", "{instruction} {response}"], "lacks {mask}"),
        (["--template", TEMPLATE], "the template and the training must agree"),
        (["--heldout", "1"], "--heldout is a share below 1"),
        (["--base", "no/such/folder"], "holds no masked language model"),
    ],
)
def test_impossible_settings_are_refused(
    options: list[str], fault: str, base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = train(tmp_path, base, PAIRS, "--no_explanations", *options)
    assert (code, fault in (said := capsys.readouterr().err)) == (2, True), said


def test_a_folder_that_is_not_empty_is_left_alone(base: str, tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "kept").write_text("mine")
    code, out = train(tmp_path, base, PAIRS, "--no_explanations")
    assert code == 2
    assert [file.name for file in out.iterdir()] == ["kept"]


def test_pairs_of_turns_are_read_as_preference_data_has_them(base: str, tmp_path: Path) -> None:
    rows = [
        {
            side: [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
            for side, text in (("chosen", a), ("rejected", b))
        }
        for asked, a, b in (("Name a colour.", "Red.", "Rain."), ("Name another.", "Blue.", "Soil."))
    ]
    code, out = train(tmp_path, base, rows, "--no_explanations", "--epochs", "1")
    assert code == 0
    assert "1 pairs trained on, 1 held out" in (out / "README.md").read_text()


TURNS = [{"role": "user", "content": "Name rain."}]
ANSWER = [{"role": "assistant", "content": "It was rain."}]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"chosen": [*TURNS, *ANSWER], "rejected": [*TURNS, *TURNS]}, "rejected ends with a turn of 'user'"),
        (
            {"chosen": [*TURNS, *ANSWER], "rejected": [{"role": "user", "content": "Name soil."}, *ANSWER]},
            "do not answer the same conversation",
        ),
        ({"prompt": "Name \ud83d rain.", "chosen": "It was rain.", "rejected": "Nothing."}, "half a surrogate pair"),
    ],
)
def test_a_row_that_is_no_pair_is_one_line(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"pairs\.jsonl:1: .*{says}"):
        list(read_pairs(write(tmp_path / "pairs.jsonl", [row])))


def test_a_system_prompt_beside_the_turns_belongs_to_the_conversation(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "chosen": [*TURNS, *ANSWER], "rejected": "Nothing."}
    (pair,) = read_pairs(write(tmp_path / "pairs.jsonl", [row]))
    assert pair.conversation == ({"role": "system", "content": "Be brief."}, *TURNS)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_conversation_does_not_take_all_pairs_away_from_training(seed: int) -> None:
    def pairs(name: str, count: int) -> list[Pair]:
        return [Pair(({"role": "user", "content": name},), f"{name} {n}", "no") for n in range(count)]

    many = [*pairs("large", 50), *(pair for n in range(50) for pair in pairs(f"small {n}", 1))]
    for given, held in ((many, 10), (pairs("large", 99) + pairs("small", 1), 1), (pairs("a", 6) + pairs("b", 5), 5)):
        train, heldout = split_pairs(given, TrainConfig("base", "out", heldout=0.1, seed=seed))
        assert len(heldout) == held
        assert len(train) + len(heldout) == len(given)
        assert not {p.conversation[0]["content"] for p in train} & {p.conversation[0]["content"] for p in heldout}
