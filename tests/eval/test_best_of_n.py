"""Best-of-N: the expected pick, its curves, and the command against a judge on a real socket."""

import itertools
import json
from statistics import fmean

import pytest

from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.eval.best_of_n import curves, expected_pick, read_prompts


def by_hand(scores, gold, n):
    """The same expectation, over every draw."""
    picks = []
    for draw in itertools.combinations(range(len(scores)), n):
        best = max(scores[index] for index in draw)
        picks.append(fmean(gold[index] for index in draw if scores[index] == best))
    return fmean(picks)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.1, 0.9, 0.3, 0.7]])
def test_the_expected_pick_is_the_mean_over_all_draws(scores, n):
    gold = [0.0, 1.0, 0.25, 0.5, 0.125]
    assert expected_pick(scores, gold, n) == pytest.approx(by_hand(scores, gold, n))


def test_tied_responses_are_picked_evenly():
    assert expected_pick([0.5, 0.5, 0.1], [1.0, 0.0, 0.0], 3) == 0.5
    assert expected_pick([0.5] * 4, [1.0, 0.0, 0.0, 0.0], 2) == 0.25


def test_the_curves_stand_beside_random_first_and_oracle():
    gold = [[0.0, 1.0, 0.5], [0.25, 0.0, 0.5, 0.25]]
    found = {curve.name: curve for curve in curves(gold, {"good": gold, "half": [[0.9, 0.1, 0.2], None]}, seed=0)}
    assert list(found) == ["good", "half", "random", "first", "oracle"]
    means = {name: [None if p is None else p.mean for p in curve.points.values()] for name, curve in found.items()}
    assert list(found["good"].points) == [1, 2, 3]
    assert means["good"] == means["oracle"]
    assert means["random"] == pytest.approx([0.375] * 3)
    assert means["first"] == pytest.approx([0.125] * 3)
    assert means["half"][-1] == 0.0
    assert found["half"].failed == 0.5


@pytest.fixture
def best_of(judge_double, tmp_path):
    server = judge_double(
        reply=lambda body: json.dumps({"score": 9 if "great" in body["messages"][-1]["content"] else 2})
    )

    def run(rows):
        file = tmp_path / "rollouts.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        out = tmp_path / "out"
        command = ["eval", "best-of-n", str(file), "--out", str(out), "--judge", "pointwise"]
        return flip(
            [
                *command,
                "--llm_judge_model",
                "hosted_vllm/judge",
                "--api_base",
                server.api_base,
                "--judge_transport",
                "direct",
                "--reply_contract",
                "free",
            ]
        ), out

    return run


def test_the_command_writes_curves_that_the_page_shows(best_of):
    row = {"prompt": "Write.", "responses": ["poor", "great", "bad", "dull"], "gold": [0.0, 1.0, 0.0, 0.0]}
    code, out = best_of([row, {**row, "prompt": "Write again."}])
    assert code == 0
    found = {one["name"]: one["points"] for one in json.loads((out / "best_of_n.json").read_text())}
    assert [point["mean"] for point in found["pointwise"].values()] == pytest.approx([0.25, 0.5, 1.0])
    assert flip(["eval", "report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert "http:" not in page


def test_gold_scores_are_those_of_their_own_row_in_a_folder_of_files(tmp_path):
    for name, gold in (("a", [0.0, 1.0]), ("b", [1.0, 0.0])):
        row = {"prompt": f"Write {name}.", "responses": ["poor", "great"], "gold": gold}
        (tmp_path / f"train-{name}.jsonl").write_text(json.dumps(row) + "\n")
    prompts = read_prompts(str(tmp_path), "gold")
    assert [(item.id, item.instruction, gold) for item, gold in prompts] == [
        ("1", "Write a.", [0.0, 1.0]),
        ("2", "Write b.", [1.0, 0.0]),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"responses": ["a", "b"]}, "the column 'gold' is to hold 2 numbers"),
        ({"responses": ["a", "b"], "gold": [1]}, "the column 'gold' is to hold 2 numbers"),
        ({"responses": ["a", "b"], "gold": [1, float("nan")]}, "the column 'gold' is to hold 2 numbers"),
        ({"response": "a", "gold": [1]}, "Best-of-N needs at least two responses"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(best_of, capsys, row, words):
    code, out = best_of([{"prompt": "Write.", **row}])
    assert (code, out.exists()) == (2, False)
    assert f"rollouts.jsonl:1: {words}" in " ".join(capsys.readouterr().err.split())
