"""What a judge is trained on: the pairs of a dataset, and what is kept away from training."""

import random
from dataclasses import replace

import pytest

from open_instruct_flip.data.decontaminate import Benchmarks
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.negatives import KINDS, LEAD_INS, RESTATE, cut, negatives, padded
from open_instruct_flip.judge_training.pairs import Pair, draw_pairs, spoken
from open_instruct_flip.rows.files import Row


def numbered(columns):
    return [Row("chats.jsonl", number, one) for number, one in enumerate(columns, start=1)]


def test_no_heldout_instruction_is_trained_on(rows, config):
    again = [{**row, "prompt": row["prompt"].upper() + "!"} for row in rows]
    draw = draw_pairs(numbered(rows + again), config)
    trained = {spoken(pair.instruction) for pair in draw.train}
    held = {spoken(pair.instruction) for pair in draw.heldout}
    assert (len(held), len(trained)) == (16, 44)
    assert not held & trained
    assert draw.dropped == {"duplicate": 60}


def test_what_is_measured_on_can_come_from_other_data(rows, config):
    own, other = rows[:30], rows[20:]
    again = {**other[0], "response": "Another answer."}
    draw = draw_pairs(numbered(own), replace(config, heldout=30), heldout_rows=numbered([*other, again]))
    held = {pair.instruction for pair in draw.heldout}
    given = {row["prompt"] for row in own}
    assert len(held) == 30 == len(draw.heldout)
    assert held <= {row["prompt"] for row in other}
    assert {pair.instruction for pair in draw.train} == given - held
    assert draw.dropped == {"held_out": len(given & held)}
    assert given & held


def test_agreement_says_what_to_learn_from_and_not_what_to_measure_on(rows, config):
    agreement = [1, *[0.9] * 19]  # a whole number, as other programs write it
    inferred = [
        {**row, "agreement": agrees, "inferred_by": "teacher"} for row, agrees in zip(rows[:20], agreement, strict=True)
    ]
    draw = draw_pairs(numbered(inferred), replace(config, min_agreement=0.5), heldout_rows=numbered(rows[20:]))
    assert (len(draw.train), len(draw.heldout)) == (20, 16)
    assert (draw.inferred_by, draw.heldout_inferred_by) == ({"teacher"}, set())


def test_too_little_to_measure_on_or_to_learn_from_is_refused(rows, config):
    config = replace(config, heldout_data="tests.jsonl")
    with pytest.raises(
        UsageError, match=r"--heldout_data tests\.jsonl has 15 pairs of different instructions in its 15"
    ):
        draw_pairs(numbered(rows), config, heldout_rows=numbered(rows[:15]))
    with pytest.raises(UsageError, match="no instruction of the 16 rows but those of"):
        draw_pairs(numbered(rows[:16]), config, heldout_rows=numbered(rows[:16]))


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows(rows, config):
    config = replace(config, num_pairs=20)
    draw = draw_pairs(numbered(rows), config)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert draw_pairs(numbered(shuffled), config).digest() == draw.digest()
    assert draw_pairs(numbered(rows), replace(config, seed=2)).digest() != draw.digest()
    assert len(draw.train) == 20


def test_thinking_is_no_part_of_a_response_and_turns_before_are_context(rows, config):
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a number."},
        {"role": "assistant", "content": "<think>Seven?</think>Seven."},
    ]
    draw = draw_pairs(numbered([*rows, {"messages": talk}]), config)
    (pair,) = [pair for pair in (*draw.train, *draw.heldout) if pair.instruction == "Name a number."]
    assert pair == Pair(({"role": "system", "content": "Be brief."},), "Seven.", "Name a number.")


def test_the_system_prompt_is_inferred_from_each_of_its_conversations(rows, config):
    rows = [{**row, "system": f"Rule {number % 40}: keep to it."} for number, row in enumerate(rows)]
    draw = draw_pairs(numbered([*rows, {"prompt": "Hi", "response": "Hello"}]), replace(config, flip_target="system"))
    assert draw.dropped == {"no_system_prompt": 1}
    assert len(draw.train) == 60 - 16 - sum(
        pair.instruction in {p.instruction for p in draw.heldout}
        for pair in [Pair((), "", f"Rule {number}: keep to it.") for number in range(20)]
    )
    assert all(turn["role"] == "user" for pair in draw.train for turn in pair.context)


def test_what_stands_in_a_benchmark_is_not_trained_on(rows, config):
    benchmarks = Benchmarks([row["prompt"] for row in rows[:5]], ngram=8)
    draw = draw_pairs(numbered(rows), config, benchmarks.contain)
    assert draw.dropped["contaminated"] >= 5
    assert not {row["prompt"] for row in rows[:5]} & {pair.instruction for pair in (*draw.train, *draw.heldout)}


def test_a_few_responses_that_hold_their_instruction_are_left_out(rows, config):
    rows[0]["response"] = f"You said: {rows[0]['prompt']} Here you are."
    assert draw_pairs(numbered(rows), config).dropped == {"copied": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: {**row, "response": f"You said: {row['prompt']}"}, "100% of the responses hold their instruction"),
        (lambda row: {"prompt": row["prompt"]}, "none of the 60 rows holds a response"),
        (lambda row: {**row, "response": "<think>Hm"}, "none of the 60 rows holds a response"),
        (lambda row: {**row, "prompt": "Hi"}, "1 different instructions are left of 60 rows, too few"),
        (lambda row: {"text": "Hi"}, "chats.jsonl:1: none of the columns"),
    ],
)
def test_data_that_teaches_nothing_is_refused(change, says, rows, config):
    with pytest.raises(UsageError, match=says):
        draw_pairs(numbered(map(change, rows)), config)


def test_bad_rows_can_be_left_out(rows, config):
    draw = draw_pairs(numbered([*rows, {"text": "Hi"}]), replace(config, skip_bad_rows=True))
    assert draw.dropped == {"bad_row": 1}


def test_a_spoilt_response_keeps_the_instruction_that_it_really_answers(rows):
    pairs = [Pair((), row["response"], row["prompt"]) for row in rows]
    spoilt = negatives(pairs, 0.2, seed=3)
    assert len(spoilt) == 12
    own = {pair.instruction: pair.response for pair in pairs}
    for number, pair in enumerate(spoilt):
        kind = KINDS[number % len(KINDS)].__name__
        if kind == "restated":
            assert pair.instruction == RESTATE
            assert any(pair.response == lead.format(instruction=text).strip() for lead in LEAD_INS for text in own)
            continue
        clean = own[pair.instruction]
        assert pair.response != clean
        if kind == "swapped":
            assert pair.response.endswith(clean)
            assert pair.instruction not in pair.response
            assert any(text in pair.response for text in own)
        else:
            longer, shorter = (clean, pair.response) if kind == "cut" else (pair.response, clean)
            assert longer.startswith(shorter)


def test_a_spoilt_response_of_text_without_spaces_keeps_its_measure(rows):
    texts = ["一二三四五六七八九十" * 2, "月火水木金土日" * 50]
    pairs = [Pair((), text, f"instruction {number}") for number, text in enumerate(texts)]
    rng = random.Random(0)
    shorter = cut(pairs[0], pairs[1], rng).response
    assert 0.3 * 20 - 1 <= len(shorter) <= 0.7 * 20 + 1
    assert padded(pairs[0], pairs[1], rng).response == f"{texts[0]}\n\n{texts[1][:10]}"
    lines = replace(pairs[0], response="one\ntwo\nthree\nfour\nfive")
    assert cut(lines, pairs[1], rng).response in {"one\ntwo", "one\ntwo\nthree"}


def test_negatives_of_one_instruction_alone_are_refused():
    pairs = [Pair((), f"response {number}", "Be brief.") for number in range(8)]
    with pytest.raises(UsageError, match="--negatives takes pairs of two different instructions"):
        negatives(pairs, 0.25, seed=1)
    assert negatives(pairs, 0.0, seed=1) == []


def test_negatives_depend_on_the_seed_alone(rows):
    pairs = [Pair((), row["response"], row["prompt"]) for row in rows]
    assert negatives(pairs, 0.5, seed=1) == negatives(pairs, 0.5, seed=1) != negatives(pairs, 0.5, seed=2)
    assert negatives(pairs, 0.0, seed=1) == []
