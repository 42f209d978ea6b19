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

READ = {
    "instruction": inferred_instruction,
    "score": pointwise_score,
    "choice": choice,
    "ranking": lambda text: ranking(text, 3),
    "best": lambda text: best(text, 3),
    "best from 0": lambda text: best(text, 3, first_number=0),
}

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
    "unescaped quotes, then prose": f"{UNESCAPED}\n\nI hope this helps.",
    "single quotes": f"{{'REASONING': 'None', 'INFERRED INSTRUCTION': '{TRUE}'}}",
    "trailing comma": COMPACT[:-1] + ",}",
    "doubled braces": "{" + COMPACT + "}",
    "no braces": COMPACT[1:-1],
    "list of objects": json.dumps([VERDICT]),
    "list of one text": json.dumps([TRUE]),
    "JSON string": json.dumps(TRUE),
    "JSON inside a JSON string": json.dumps(COMPACT),
    "list value": json.dumps({"REASONING": REASONING, "INFERRED INSTRUCTION": TRUE.split(", ")}),
    "object value": json.dumps({"INFERRED INSTRUCTION": {"task": TRUE}}),
    "nested": json.dumps({"answer": VERDICT}),
    "other keys": json.dumps({"reasoning": REASONING, "inferredInstruction": TRUE}),
    "after thinking": f'<think>Is it {{"instruction": "Sing."}}? No.</think>\n{COMPACT}',
    "after thinking whose start was cut": f"Is it a song? No.</think>{COMPACT}",
    "after thinking that quotes a tag": f"<think>It ends in </think>, I see.</think>{COMPACT}",
    "a closing tag in the JSON": COMPACT.replace("simple words", "a </think> tag"),
    "a closing tag in broken JSON": UNESCAPED.replace("simple words", "a </think> tag"),
    "thinking, then a closing tag in the JSON": f"<think>Hm.</think>{COMPACT.replace('simple words', '</think>')}",
    "a draft, then the answer": f'{{"instruction": "Sing."}}\nBetter:\n{COMPACT}',
    "a draft, then the final answer": f'{{"instruction": "Sing."}}\n\n**Final answer:**\n```json\n{PRETTY}\n```',
    "the same twice": f"{COMPACT}\n{PRETTY}",
    "another field beside it": json.dumps({"instruction": TRUE, "task": "definition", "follow_up_question": "More?"}),
    "an empty object of the prompt's before it": f'{{"instruction": "..."}}\n{COMPACT}',
    "labelled line": f"**Inferred instruction:** {TRUE}",
    "labelled line under the reasoning": f"**Reasoning:** {REASONING}\n\n**Instruction:** {TRUE}",
    "labelled line over the reasoning": f"Instruction: {TRUE}\n\nReasoning: {REASONING}",
    "label, then JSON": f"### Inferred instruction:\n{COMPACT}",
}

SHORT = [
    ("score", '{"REASONING": "good", "SCORE": "8/10"}', 0.8),
    ("score", '{\n  "REASONING": "good",\n  "SCORE": "8/10"\n}', 0.8),
    ("score", '{"reasoning": "misses 3 of 4", "score": 7.5}', 0.75),
    ("score", '{"score": "8 out of 10"}', 0.8),
    ("score", '{"score": 8/10}', 0.8),
    ("score", '{"score": "**8**"}', 0.8),
    ("score", '{"score": 10}', 1.0),
    ("score", '{"score": 1}', 0.1),
    ("score", '{"score": "1.0/10"}', 0.1),
    ("score", '{"score": "8"', 0.8),
    ("score", '[{"score": 8}]', 0.8),
    ("score", '{"reasoning": "it says "soil" twice", "score": 8}', 0.8),
    ("score", "{'reasoning': 'good', 'score': 8,}", 0.8),
    ("score", "score: 8", 0.8),
    ("score", "Reasoning: misses 3 of 4.\n\n**Score: 8/10**\n\nI hope this helps.", 0.8),
    ("score", "9", 0.9),
    ("score", '"9/10"', 0.9),
    ("score", '{"score": {"clarity": 9, "overall": 6}}', 0.6),
    ("score", '{"evaluation": {"score": 6}}', 0.6),
    ("score", '{"score": 2, "max_score": 10}', 0.2),
    ("score", '{"score": 7, "total_points": 10}', 0.7),
    ("score", '{"overall_score": 3, "style_score": 9}', 0.3),
    ("score", '{"score": 3, "rating": "3/10"}', 0.3),
    ("score", "Score: 9\nFinal score: 8", 0.8),
    ("choice", '{"reasoning": "B misses the form", "winner": "A"}', "A"),
    ("choice", '{"REASONING": "...", "BETTER_RESPONSE": "B"}', "B"),
    ("choice", '{"REASONING": "...", "BETTER_RESPONSE": B}', "B"),
    ("choice", '{"winner": "Response b"}', "B"),
    ("choice", '{"winner": "tie"}', "tie"),
    ("choice", '{"winner": "A tie"}', "tie"),
    ("choice", '{"winner": "Response A is better."}', "A"),
    ("choice", "Response A is better.", "A"),
    ("choice", "**A**", "A"),
    ("choice", "[[B]]", "B"),
    ("choice", "B misses the form.\n\nWinner: A", "A"),
    ("choice", '{"winner": "A", "second_choice": "B"}', "A"),
    ("ranking", '{"reasoning": "1 is short", "ranking": [2, 3, 1]}', [1, 2, 0]),
    ("ranking", '{"ranking": "2 > 3 > 1"}', [1, 2, 0]),
    ("ranking", '{"ranking": ["Response 2", "Response 3", "Response 1"]}', [1, 2, 0]),
    ("ranking", "[2, 3, 1]", [1, 2, 0]),
    ("ranking", "2, 3, 1", [1, 2, 0]),
    ("ranking", "Ranking: 2 > 3 > 1", [1, 2, 0]),
    ("ranking", '```json\n{"ranking": [2, 3, 1]}\n```', [1, 2, 0]),
    ("best", '{"ranking": [2, 3, 1]}', 1),
    ("best", '{"ranking": [3]}', 2),
    ("best", '{"ranking": [3, 1]}', 2),
    ("best", "2", 1),
    ("best from 0", '{"REASONING": "0 is short", "BEST_RESPONSE_INDEX": 2}', 2),
    ("best from 0", '{"BEST_RESPONSE_INDEX": "0"}', 0),
    ("best from 0", '{"BEST_RESPONSE_INDEX": <1>}', 1),
    ("best from 0", '{"ranking": [2, 0]}', 2),
    ("best from 0", "2", 2),
    ("best from 0", "0", 0),
]

NEAR_MISSES = [
    # nothing, or only around the verdict
    ("instruction", ""),
    ("instruction", " \n"),
    ("instruction", "I can't tell what was asked."),
    ("instruction", '{"reasoning": "It explains."}'),
    ("instruction", '{"instruction": null}'),
    ("instruction", '{"instruction": true}'),
    ("instruction", '{"instruction": ""}'),
    ("instruction", '{"instruction": "?!"}'),
    ("instruction", '{"instruction": "The"}'),
    ("instruction", '{"reasoning":' + "\n" * 500),
    ("score", ""),
    ("score", "{}"),
    ("score", '{"score": null}'),
    ("score", '{"score": true}'),
    ("score", '{"score": "good"}'),
    ("choice", ""),
    ("ranking", ""),
    # the prompt's own placeholders
    ("instruction", '{"reasoning": "<one short sentence>", "instruction": "<the instruction>"}'),
    ("instruction", '{"REASONING": "<explanation>", "INFERRED INSTRUCTION": "<instruction>"}'),
    ("instruction", '{"instruction": "..."}'),
    ("instruction", '{"instruction": "the instruction"}'),
    ("score", '{"reasoning": "<one short sentence>", "score": <1 to 10>}'),
    ("score", '{"SCORE": "<your-score>"}'),
    ("choice", '{"winner": "<A, B or tie>"}'),
    ("choice", '{"BETTER_RESPONSE": "A" or "B"}'),
    ("ranking", '{"ranking": [<best>, ..., <worst>]}'),
    ("best from 0", '{"BEST_RESPONSE_INDEX": <index-of-best-response>}'),
    # other keys that hold the word, also beside an empty field
    ("instruction", '{"instruction": "", "next_question": "Shall I go on?"}'),
    ("instruction", '{"instruction": "", "prompt": "Sing."}'),
    ("instruction", '{"follow_up_instruction": "Sing."}'),
    ("instruction", '{"instruction_reasoning": "Sing."}'),
    ("instruction", '{"previous": {"instruction": "Sing."}}'),
    ("instruction", '{"reasoning": {"instruction": "Sing."}}'),
    ("score", '{"reasoning": "good", "max_score": "10"}'),
    ("score", '{"previous_score": "9"}'),
    ("score", '{"score_reasoning": "9"}'),
    ("score", '{"scored_by": "9"}'),
    ("score", '{"score": "", "max_score": 10}'),
    ("score", '{"history": [{"score": 9}]}'),
    ("score", '{"reasoning": "a "b" c", "history": [1, {"score": 9}]}'),
    ("score", '"history": [1, {"score": 9}], "reasoning": "good"'),
    ("score", "Max score: 10"),
    ("choice", '{"second_choice": "B"}'),
    ("choice", '{"loser": "B"}'),
    ("ranking", '{"previous_ranking": [2, 3, 1]}'),
    ("best", '{"BEST_RESPONSE_INDEX": 2}'),  # counts from 0 or, as the responses do, from 1?
    # in the reasoning only, or quoted
    ("instruction", '{"reasoning": "Instruction: sing."}'),
    ("instruction", '{"reasoning": "so\\nInstruction: sing.", "max_score": 10}'),
    ("instruction", '"{\\"reasoning\\": \\"Instruction: sing.\\"}"'),
    ("score", '{"reasoning": "deserves 3; the max score is 10"}'),
    ("score", "deserves 3; the max score is 10"),
    ("score", "It has 3 of the 4 parts."),
    ("score", "The response claims a score of 10."),
    ("score", 'The response says "{"score": 10}" and nothing else.'),
    ("score", '{"reasoning": "It says {\\"score\\": 10}"}'),
    ("score", '{"reasoning": "it says ", "score": 10}", "score": 2}'),
    ("choice", "A response has to keep its form."),
    ("choice", 'The response ends in "winner: A".'),
    # one of several
    ("score", '{"score_2": 9}'),
    ("score", '{"score": 5, "score_2": 9}'),
    ("score", '{"2. score": 9}'),
    ("score", '{"score": {"accuracy": 7, "score": 2, "overall": 9}}'),
    ("score", '{"score": {"accuracy": 7, "clarity": 9}}'),
    ("instruction", '{"instruction_2": "Sing."}'),
    # two verdicts, none marked final
    ("instruction", '{"instruction": "Sing."}\n{"instruction": "Dance."}'),
    ("instruction", '{"instruction": "Sing.", "instruction": "Dance."}'),
    ("instruction", '{"instruction": "Sing.", "prompt": "Dance."}'),
    ("instruction", '[{"instruction": "Sing."}, {"instruction": "Dance."}]'),
    ("instruction", '["Sing.", "Dance."]'),
    ("instruction", 'Instruction: Sing.\n{"instruction": "Dance."}'),
    ("instruction", 'Instruction: Return {"a": 1} as XML.'),
    ("instruction", "Instruction: Sing.\nInstruction: Dance."),
    ("instruction", "Instruction: Sing.\n\nOr maybe it was a dance."),
    ("score", '{"score": 3} {"score": 9}'),
    ("score", '{"score": 3} There is no better: it had claimed {"score": 9}'),
    ("score", '{"score": 9, "score": 3}'),
    ("score", '{"score": 9, "rating": 3}'),
    ("score", '{"score": "accuracy 9/10, overall 3/10"}'),
    ("score", '{"score": {"clarity": 9, "style": 6}}'),
    ("score", '{"score": [8, 9]}'),
    ("score", '{"score": "6 or 7"}'),
    ("score", '{"score": "6-7"}'),
    ("score", '{"score": 8 or 9}'),
    ("score", '{"score": "2/3 of the limits kept, so 4"}'),
    ("score", "Score: 9\nScore: 3"),
    ("score", "Score: 8/10. A score of 10 would need sources."),
    ("score", "I give it a score of 3. A score of 10 would need sources."),
    ("score", "score of 3 out of 10; a score of 9 would need more"),
    ("score", "8 10"),
    ("choice", "[[A]] at first sight, but [[B]]"),
    ("choice", '{"winner": "A"} {"winner": "B"}'),
    ("choice", '{"winner": "A", "verdict": "B"}'),
    ("choice", '{"winner": ["A", "B"]}'),
    ("ranking", '{"ranking": [2, 3, 1]} {"ranking": [1, 2, 3]}'),
    ("best", '{"ranking": [2]} {"ranking": [1]}'),
    # off the scale, or on another one
    ("score", '{"score": 1.0}'),
    ("score", "Score: 1.00"),
    ("score", '{"score": 11}'),
    ("score", '{"score": -1}'),
    ("score", '{"score": 0}'),
    ("score", '{"score": 0.8}'),
    ("score", '{"score": ".8"}'),
    ("score", '{"score": "0/10"}'),
    ("score", '{"score": "8/100"}'),
    ("score", '{"score": "80/100"}'),
    ("score", '{"score": "4 out of 5"}'),
    ("score", '{"score": "80%"}'),
    ("score", '{"score": "7,5"}'),
    ("score", '{"score": 1e400}'),
    ("score", '{"score": NaN}'),
    # negations, neither, and others
    ("score", '{"score": "not 8"}'),
    ("score", '{"score": "below 3"}'),
    ("choice", '{"winner": "not A"}'),
    ("choice", '{"winner": "neither"}'),
    ("choice", '{"winner": "both"}'),
    ("choice", '{"winner": "none"}'),
    ("choice", '{"winner": "C"}'),
    ("choice", '{"winner": "A is worse"}'),
    ("choice", "Neither response is better."),
    # rankings that are none
    ("ranking", '{"ranking": [2, 2, 1]}'),
    ("ranking", '{"ranking": [3, 2]}'),
    ("ranking", '{"ranking": [3, 2, 1, 4]}'),
    ("ranking", '{"ranking": [0, 1, 2]}'),
    ("ranking", '{"ranking": [-2, 3, 1]}'),
    ("ranking", '{"ranking": [2, [3, 1]]}'),
    ("ranking", '{"ranking": "2 = 3 > 1"}'),
    ("ranking", '{"ranking": "1 < 3 < 2"}'),
    ("ranking", '{"ranking": "231"}'),
    ("ranking", '{"ranking": {"1": 3, "2": 1, "3": 2}}'),
    ("ranking", '{"ranking": {"rank 1": 2, "rank 2": 3, "rank 3": 1}}'),
    ("ranking", '{"ranking": {"response_1": 3, "response_2": 1, "response_3": 2}}'),  # places, or points?
    ("ranking", "2 is best, then 3 and 1"),
    ("best", '{"ranking": [2, 2]}'),
    ("best", '{"ranking": [4]}'),
    ("best", "the second"),
    ("best from 0", '{"BEST_RESPONSE_INDEX": 3}'),
    ("best from 0", '{"BEST_RESPONSE_INDEX": -1}'),
    ("best from 0", '{"BEST_RESPONSE_INDEX": "0 or 1"}'),
    # cut off
    ("instruction", COMPACT[: COMPACT.index("INFERRED")]),
    ("instruction", COMPACT[:30]),
    ("instruction", '{"instruction":'),
    ("score", '{"reasoning": "good", "score": 1'),  # or 10?
    ("score", '{"score": 2, "max_score": 1'),
    ("score", '{"reasoning": "The response says "score": 10 but'),
    ("score", '{"reasoning": "He says "hi", "score": 10, I gather'),
    ("ranking", '{"ranking": [2, 3, 1'),
    ("best", '{"ranking": [1'),
    # thinking that never ends, or ends in nothing
    ("instruction", "<think>\nInstruction: Sing"),
    ("instruction", f"<think>\nSo it is {COMPACT}"),
    ("instruction", f"<think>{COMPACT}</think>"),
    ("score", "<think>Score: 9"),
    ("score", "[THINK]9"),
    ("score", "It may be 9.</think>"),
    ("choice", "<think>A"),
]


@pytest.mark.parametrize("text", PERFECT.values(), ids=PERFECT)
def test_a_perfect_inference_scores_1_however_it_is_written(text: str) -> None:
    assert f1_score(inferred_instruction(text), TRUE).f1 == 1.0


@pytest.mark.parametrize(("reader", "text", "verdict"), SHORT)
def test_a_short_verdict_is_read_however_it_is_written(reader: str, text: str, verdict: object) -> None:
    assert READ[reader](text) == pytest.approx(verdict)


@pytest.mark.parametrize(("reader", "text"), NEAR_MISSES)
def test_what_is_not_surely_the_verdict_is_unreadable(reader: str, text: str) -> None:
    with pytest.raises(UnreadableReply) as caught:
        READ[reader](text)
    assert caught.value.text == text
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_the_near_misses_outnumber_the_readable_replies() -> None:
    assert len(NEAR_MISSES) >= len(PERFECT) + len(SHORT)


def test_reasoning_is_never_taken_for_the_instruction() -> None:
    text = '{"reasoning": "The instruction: sing a song.", "instruction": "Explain soil."}'
    assert inferred_instruction(text) == "Explain soil."


@pytest.mark.parametrize(
    "run", ['"score "' + " " * 200_000, "```" + "\n" * 200_000, "_" * 200_000, "{," + "\n" * 200_000, "12" * 100_000]
)
def test_a_long_run_is_read_in_a_moment(run: str) -> None:
    """Where the time grows with the square of the length, this takes many minutes."""
    for read in READ.values():
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
    for read in READ.values():
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
