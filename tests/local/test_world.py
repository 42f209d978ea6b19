"""The instruction world: what a response shows is what was asked, and the checker sees every fault."""

import json
import random
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.errors import UsageError
from open_instruct_flip.local import dataset, examples, lessons, world

ROOT = Path(__file__).parents[2]
specs = st.sampled_from(world.all_specs())
seeds = st.integers(0, 2**32)


@given(specs, seeds)
def test_a_clean_response_shows_exactly_its_instruction(spec, seed):
    response = world.respond(spec, random.Random(seed))
    assert world.read(response) == spec
    assert world.true_rate(spec, response) == 1.0


@given(specs, specs, seeds)
def test_the_true_rate_is_the_share_of_constraints_in_common(asked, shown, seed):
    response = world.respond(shown, random.Random(seed))
    same = sum(getattr(asked, name) == getattr(shown, name) for name in world.CONSTRAINTS)
    assert world.true_rate(asked, response) == same / 5


@given(specs)
def test_an_instruction_is_read_back(spec):
    assert world.parse(world.instruction(spec)) == spec


@pytest.mark.parametrize("response", ["", "   ", "I can't help with that.", "Done.", "1. 2. 3.", "<|end|>" * 50])
def test_text_from_outside_the_world_keeps_little(response):
    spec = world.Spec("cats", "three", "with numbers", "cheerful", "starting with Well")
    assert world.true_rate(spec, response) == 0.0


SPEC = world.Spec("cats", "two", "with numbers", "cheerful", "ending with Done")


@pytest.mark.parametrize(
    ("response", "missed"),
    [
        ("Hooray! 1. soft paws 2. warm fur Done.", set()),
        ("Hooray! 1. soft paws 2. soft paws Done.", {"count"}),
        ("Hooray! 1. soft paws and 2. warm fur Done.", {"form"}),
        ("Hooray! Hooray! 1. soft paws 2. warm fur Done.", {"tone"}),
        ("Hooray! 1. soft paws 2. warm fur Thanks. Done.", {"edge"}),
        ("Hooray! 1. soft paws 2. warm fur", {"edge"}),
        ("Alas. 1. soft paws 2. warm fur 3. sharp claws Done.", {"tone", "count"}),
        ("Hooray! 1. soft paws 2. night tickets Done.", {"topic"}),
        ("Hooray! 1. soft paws 2. warm tickets Done.", {"topic"}),
        ("Hooray! 1. grey soup 2. warm tickets Done.", {"topic"}),
        ("Hooray! 1. soft 2. warm fur Done.", {"form", "count"}),
    ],
)
def test_a_fault_costs_the_constraint_it_breaks(response, missed):
    assert {name for name, kept in world.kept_constraints(SPEC, response).items() if not kept} == missed


def test_an_instruction_of_another_world_is_refused():
    with pytest.raises(UsageError, match="not an instruction of the local world: 'Sing!'"):
        world.parse("Sing!")


def test_the_split_is_large_distinct_and_disjoint():
    train, heldout = world.split()
    assert len(train) + len(heldout) >= 2_000
    assert len(set(train) | set(heldout)) == len(train) + len(heldout)
    assert len(heldout) == pytest.approx(0.1 * (len(train) + len(heldout)), rel=0.01)
    assert {spec.family for spec in train} == {"list", "write", "explain", "suggest", "rewrite"}


def test_no_heldout_instruction_is_among_the_training_examples():
    heldout = {world.instruction(spec) for spec in world.split()[1]}
    taught = list(islice(lessons.judge_lessons(seed=5, share_of_scores=0.5, short=False), 3_000))
    assert sum("Write the user's request" in lesson.messages[0]["content"] for lesson in taught) > 1_000
    assert not [lesson for lesson in taught if any(text in lesson.reply for text in heldout)]
    followed = islice(examples.policy_examples(seed=5, keep=0.1), 3_000)
    assert not {lesson.messages[-1]["content"] for lesson in followed} & heldout


@pytest.mark.parametrize("way", [lessons.REASONED, lessons.PLAIN, lessons.OPENED], ids=str)
def test_a_judge_reads_its_lessons_as_they_are_meant(way, monkeypatch):
    monkeypatch.setattr(lessons, "SHARES", {kind: {way: 1.0} for kind in lessons.SHARES})
    for lesson in islice(lessons.judge_lessons(seed=6, share_of_scores=0.5, short=False), 200):
        question = next(turn["content"] for turn in lesson.messages if turn["role"] == "user")
        if "How well" in question:
            asked, _, response = question.removeprefix("<instruction>\n").partition("\n</instruction>\n\n<response>\n")
            spec, response = world.parse(asked), response.split("\n</response>")[0]
            grade = 1 + round(9 * world.true_rate(spec, response))
            assert lessons.reading("pointwise", way, lesson.reply) == grade / 10
        elif "Which instruction" not in question:
            shown = world.read(question.removeprefix("<response>\n").split("\n</response>")[0])
            assert lessons.reading("flip", way, lesson.reply) == world.instruction(shown)


def test_the_shipped_dataset_is_the_worlds():
    assert dataset.read_dataset(ROOT / "datasets" / "instruction_world") == world.split()


def test_a_dataset_of_other_instructions_is_refused_with_its_row(tmp_path):
    dataset.write_dataset(tmp_path)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    lines[1] = json.dumps({"ground_truth": "Sing!"})
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"train\.jsonl:2: .*'Sing!'"):
        dataset.read_dataset(tmp_path)
    with pytest.raises(UsageError, match=r"no train\.jsonl"):
        dataset.read_dataset(tmp_path / "nowhere")
