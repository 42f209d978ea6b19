"""What a judge's text is read as: the replies that were misread elsewhere, and text nobody thought of."""

from __future__ import annotations

import contextlib
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_instruct_flip.judges.reply import (
    UnreadableReply,
    best,
    choice,
    inferred_instruction,
    pointwise_score,
    ranking,
)
from open_instruct_flip.similarity.f1 import f1_score

TRUE = 'Explain "soil degradation" to a child, in two sentences.'
REASONING = "The response explains soil degradation in simple words, so a child is the reader."
VERDICT = {"REASONING": REASONING, "INFERRED INSTRUCTION": TRUE}
COMPACT, PRETTY = json.dumps(VERDICT), json.dumps(VERDICT, indent=2)
UNESCAPED = f'{{"REASONING": "{REASONING}", "INFERRED INSTRUCTION": "{TRUE}"}}'

PERFECT = {
    "compact": COMPACT,
    "pretty-printed": PRETTY,
    "in a fence": f"```json\n{PRETTY}\n```",
    "in a fence without a name": f"```\n{COMPACT}\n```",
    "prose, then JSON": f"Sure! Here is what I think:\n\n{COMPACT}",
    "JSON, then prose": f"{COMPACT}\n\nI hope this helps.",
    "cut off before the closing quote": COMPACT[:-2],
    "cut off before the closing brace": COMPACT[:-1],
    "unescaped quotes": UNESCAPED,
    "single quotes": f"{{'REASONING': 'None', 'INFERRED INSTRUCTION': '{TRUE}'}}",
    "trailing comma": COMPACT[:-1] + ",}",
    "doubled braces": "{" + COMPACT + "}",
    "list of objects": json.dumps([VERDICT]),
    "JSON string": json.dumps(TRUE),
    "JSON inside a JSON string": json.dumps(COMPACT),
    "list value": json.dumps({"REASONING": REASONING, "INFERRED INSTRUCTION": TRUE.split(", ")}),
    "object value": json.dumps({"INFERRED INSTRUCTION": {"task": TRUE}}),
    "nested": json.dumps({"answer": VERDICT}),
    "other keys": json.dumps({"reasoning": REASONING, "inferredInstruction": TRUE}),
    "after thinking": f'<think>Is it {{"instruction": "Sing."}}? No.</think>\n{COMPACT}',
    "after thinking whose start was cut": f"Is it a song? No.</think>{COMPACT}",
    "a draft, then the answer": f'{{"instruction": "Sing."}}\nBetter:\n{COMPACT}',
    "another field beside it": json.dumps({"instruction": TRUE, "task": "definition", "follow_up_question": "More?"}),
    "labelled line": f"**Inferred instruction:** {TRUE}",
}
EMPTY = {
    "nothing": "",
    "white space": " \n",
    "prose": "I can't tell what was asked.",
    "no such key": '{"reasoning": "It explains."}',
    "empty value": '{"instruction": ""}',
    "no word": '{"instruction": "?!"}',
    "null": '{"instruction": null}',
    "the prompt's placeholder": '{"reasoning": "<one short sentence>", "instruction": "<the instruction>"}',
    "thinking that never ends": "<think>\nInstruction: Sing",
    "white space until the limit": '{"reasoning":' + "\n" * 500,
}


@pytest.mark.parametrize("text", PERFECT.values(), ids=PERFECT)
def test_a_perfect_inference_scores_1_however_it_is_written(text: str) -> None:
    assert f1_score(inferred_instruction(text), TRUE).f1 == 1.0


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_no_instruction_is_unreadable_not_0(text: str) -> None:
    with pytest.raises(UnreadableReply) as caught:
        inferred_instruction(text)
    assert caught.value.text == text
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_reasoning_is_never_taken_for_the_instruction() -> None:
    text = '{"reasoning": "The instruction: sing a song.", "instruction": "Explain soil."}'
    assert inferred_instruction(text) == "Explain soil."


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"REASONING": "good", "SCORE": "8/10"}', 0.8),
        ('{\n  "REASONING": "good",\n  "SCORE": "8/10"\n}', 0.8),
        ('{"reasoning": "misses 3 of 4", "score": 7.5}', 0.75),
        ('{"score": "7,5"}', 0.75),
        ('{"score": "4 out of 5"}', 0.8),
        ('{"score": 10', 1.0),
        ("score: 8", 0.8),
        ("I would give it a **Score: 8/10**.", 0.8),
        ("9", 0.9),
        ('{"score": {"clarity": 9, "overall": 6}}', 0.6),
        ('{"score": 2, "max_score": 10}', 0.2),
        ('{"score": 2, "max_score": 10', 0.2),
        ('{"score": 7, "total_points": 10}', 0.7),
        ('{"overall_score": 3, "style_score": 9}', 0.3),
        ("Score: 8/10. The score is 8.", 0.8),
    ],
)
def test_scores(text: str, score: float) -> None:
    assert pointwise_score(text) == pytest.approx(score)


@pytest.mark.parametrize(
    "text",
    [
        *("", '{"score": "good"}', '{"score": 11}', '{"score": -1}', '{"score": 0}', '{"score": 0.8}'),
        *('{"score": "0/10"}', '{"score": "6 or 7"}', '{"max_score": 10}', "It has 3 of the 4 parts."),
        "I give it a score of 3. A score of 10 would need sources.",
        "score of 3 out of 10; a score of 9 would need more",
        '{"score": "accuracy 9/10, overall 3/10"}',
        '{"score": "2/3 of the limits kept, so 4"}',
    ],
)
def test_no_score_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableReply):
        pointwise_score(text)


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ('{"reasoning": "B misses the form", "winner": "A"}', "A"),
        ('{"REASONING": "...", "BETTER_RESPONSE": "B"}', "B"),
        ('{"winner": "Response b"}', "B"),
        ('{"winner": "tie"}', "tie"),
        ('{"winner": "A tie"}', "tie"),
        ("[[A]] at first sight, but [[B]]", "B"),
        ("Response A is better.", "A"),
        ("**A**", "A"),
        ('{"winner": "A", "second_choice": "B"}', "A"),
    ],
)
def test_choices(text: str, winner: str) -> None:
    assert choice(text) == winner


@pytest.mark.parametrize(
    "text", ["", '{"winner": "<A, B or tie>"}', '{"winner": "C"}', "A response has to keep its form."]
)
def test_no_choice_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableReply):
        choice(text)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('{"reasoning": "1 is short", "ranking": [2, 3, 1]}', [1, 2, 0]),
        ('{"ranking": "2 > 3 > 1"}', [1, 2, 0]),
        ('{"ranking": ["Response 2", "Response 3", "Response 1"]}', [1, 2, 0]),
        ("[2, 3, 1]", [1, 2, 0]),
        ('```json\n{"ranking": [2, 3, 1]}\n```', [1, 2, 0]),
        ('{"ranking": {"response_1": 3, "response_2": 1, "response_3": 2}}', [1, 2, 0]),
    ],
)
def test_rankings(text: str, order: list[int]) -> None:
    assert ranking(text, 3) == order
    assert best(text, 3) == order[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"ranking": {"1": 3, "2": 1, "3": 2}}',
        '{"ranking": {"rank 1": 2, "rank 2": 3, "rank 3": 1}}',
        "",
        '{"ranking": [2, 2, 1]}',
        '{"ranking": [3, 2]}',
        '{"ranking": [0, 1, 2]}',
        "2 is best, then 3 and 1",
    ],
)
def test_no_ranking_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableReply):
        ranking(text, 3)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('{"REASONING": "0 is short", "BEST_RESPONSE_INDEX": 2}', 2),
        ('{"BEST_RESPONSE_INDEX": "0"}', 0),
        ('{"BEST_RESPONSE_INDEX": <1>}', 1),
        ('{"ranking": [3]}', 2),
        ('{"ranking": [3, 1]}', 2),
    ],
)
def test_the_best_is_the_first_of_a_ranking_or_an_index_from_0(text: str, position: int) -> None:
    assert best(text, 3) == position


@pytest.mark.parametrize(
    "text", ['{"BEST_RESPONSE_INDEX": 3}', '{"BEST_RESPONSE_INDEX": -1}', '{"ranking": [2, 2]}', "the second"]
)
def test_no_best_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableReply):
        best(text, 3)


def test_a_judge_that_counts_from_0_is_read_from_0() -> None:
    assert best("2", 3, first_number=0) == best('{"ranking": [2, 0]}', 3, first_number=0) == 2
    assert best("0", 3, first_number=0) == 0


@pytest.mark.parametrize(
    "run", ['"score "' + " " * 200_000, "```" + "\n" * 200_000, "_" * 200_000, "{," + "\n" * 200_000, "12" * 100_000]
)
def test_a_long_run_is_read_in_a_moment(run: str) -> None:
    """Where the time grows with the square of the length, this takes many minutes."""
    for read in (inferred_instruction, pointwise_score, choice, lambda text: ranking(text, 3)):
        with contextlib.suppress(UnreadableReply):
            assert read(run) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(["instruction", "score", "x"]), children),
    max_leaves=8,
)
syntax = st.lists(
    st.sampled_from(
        [*"{}[]:,\"'\n\\", "```json", "<think>", "</think>", "instruction", "score", "ranking", "winner", "8/"]
    )
    | st.text(max_size=3)
).map("".join)
replies = st.text() | syntax | json_values.map(json.dumps) | json_values.map(lambda v: json.dumps(v)[:-2])


@settings(deadline=None)
@given(replies)
def test_no_reply_brings_any_other_error(text: str) -> None:
    for read in (inferred_instruction, pointwise_score, choice, lambda t: ranking(t, 3), lambda t: best(t, 3)):
        try:
            verdict = read(text)
        except UnreadableReply:
            continue
        if read is inferred_instruction:
            assert verdict.encode("utf-8")
        if read is pointwise_score:
            assert 0.0 <= verdict <= 1.0


@pytest.mark.parametrize(
    "text", ["{" * 100_000, "[" * 100_000, '{"instruction": ' * 20_000, '"instruction": "' * 20_000]
)
def test_deep_or_endless_replies_end_as_unreadable_or_read(text: str) -> None:
    with contextlib.suppress(UnreadableReply):
        assert inferred_instruction(text)
