"""Judgements put together by item, and what a judge's scores of an item amount to."""

import pytest
from made_up import judged, write_folder

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.judgements import Voice, judged_items, read_results


@pytest.mark.parametrize(
    ("scores", "right", "outcome"),
    [
        ([0.9, 0.1], (True, False), "right"),
        ([0.1, 0.9], (True, False), "wrong"),
        ([0.5, 0.5], (True, False), "tied"),
        ([0.2, 0.9, 0.5], (True, True, False), "right"),
        ([0.9, "unreadable_reply"], (True, False), "unreadable"),
        (["timeout", "unreadable_reply"], (True, False), "failed"),
        ([0.9, 0.1], (None, None), "unlabelled"),
    ],
)
def test_the_outcome_of_an_item(scores, right, outcome):
    (item,) = judged_items(judged("1", "flip", scores, right=right))
    assert item.outcome(Voice("flip")) == outcome


def test_an_item_holds_whole_judgements_of_responses_as_they_are():
    rows = judged("1", "flip", [0.9, 0.1]) + judged("1", "pointwise", [0.3, 0.4])[:1]
    rows += judged("1", "flip", [0.8, 0.2], run=1) + judged("1", "flip", [1.0, 1.0], attack="praise")
    (item,) = judged_items(reversed(rows))
    assert set(item.judgements) == {Voice("flip", 0), Voice("flip", 1)}
    assert item.scores(Voice("flip", 1)) == [0.8, 0.2]
    assert item.responses == ["response 0 to 1", "response 1 to 1"]


def test_items_of_one_name_with_other_texts_are_two():
    rows = judged("1", "flip", [0.9, 0.1])
    other_responses = [{**row, "judge": "second", "response": "another"} for row in rows]
    other_turns = [{**row, "judge": "third", "conversation": [{"role": "user", "content": "Else."}]} for row in rows]
    same = [{**row, "judge": "fourth"} for row in rows]
    items = judged_items(rows + other_responses + other_turns + same)
    assert [{voice.judge for voice in item.judgements} for item in items] == [{"flip", "fourth"}, {"second"}, {"third"}]


def test_a_judge_of_two_folders_is_told_apart(tmp_path):
    folders = [write_folder(tmp_path / name, judged("1", "flip", [0.9, 0.1])) for name in ("a", "b")]
    assert {row["judge"] for row in read_results(folders)} == {"flip (a)", "flip (b)"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (None, "holds no judgements.jsonl"),
        ("", "is empty"),
        ("{", "jsonl:1"),
        ('{"judge": "a"}\n', "it lacks benchmark"),
    ],
)
def test_a_folder_without_judgements_is_refused(tmp_path, lines, words):
    if lines is not None:
        (tmp_path / "judgements.jsonl").write_text(lines)
    with pytest.raises(UsageError, match=words):
        read_results([tmp_path])
