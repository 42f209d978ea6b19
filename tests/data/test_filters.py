"""What a prompt is left out for: tables of examples, and properties that hold for any text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.decontaminate import Benchmarks
from open_instruct_flip.data.filters import (
    distinct_words,
    is_english,
    is_longer,
    looks_english,
    prefix,
    prompt_filters,
    words,
)
from open_instruct_flip.data.near_duplicates import NearDuplicates, jaccard, word_pairs
from open_instruct_flip.data.prompts import ChatPrompt, read_prompt
from open_instruct_flip.data.sampling import Pool
from open_instruct_flip.data.subjects import has_code, has_math
from open_instruct_flip.errors import FlipError, UsageError

TEXT = st.text(max_size=200)
WORDS = st.lists(st.sampled_from(["amber", "bee", "cloud", "dune", "elm", "fog", "gull"]), min_size=1, max_size=30)
FEW = settings(max_examples=10)  # each near-duplicate index works out its parameters anew, which takes a while


def prompt(text: str, *earlier: str, **about: Any) -> ChatPrompt:
    turns = [{"role": "user", "content": content} for content in (*earlier, text)]
    return ChatPrompt(tuple(turns), **about)


OTHER_LANGUAGES = [
    "Kannst du mir bitte einen kurzen Brief an meinen Vermieter schreiben, weil die Heizung kaputt ist?",
    "Écris-moi une petite histoire pour les enfants qui ont peur du noir et des orages.",
    "¿Puedes explicarme cómo funciona un motor eléctrico con palabras sencillas para mi hijo?",
    "Scrivi una mail al mio capo per dire che domani non posso venire in ufficio.",
    "Explica por favor a diferença entre um empréstimo e um cartão de crédito em poucas palavras.",
    "Schrijf een korte brief aan mijn buurman over de hond die de hele nacht blaft.",
    "Skriv en kort tale til min søsters bryllup, som er både sjov og rørende.",
    "Napisz krótki list do mojego nauczyciela, w którym dziękuję mu za pomoc.",
    "Напиши короткое письмо моему учителю.",
    "写一篇关于春天的短文",
]
ENGLISH = [
    "what should i cook tonight",
    "Give advice on adopting a senior cat for a retired couple in a third-floor flat with a balcony",
    "Translate « l'esprit de l'escalier » and explain when I'd use it",
    "Names for a café?",
]


@pytest.mark.parametrize("text", OTHER_LANGUAGES)
def test_other_languages_do_not_look_english(text: str) -> None:
    assert not looks_english(text)


@pytest.mark.parametrize("text", ENGLISH)
def test_english_looks_english(text: str) -> None:
    assert looks_english(text)


def test_the_source_knows_the_language_better_than_a_guess() -> None:
    assert is_english(prompt(OTHER_LANGUAGES[0], languages=("English", "English")))
    assert not is_english(prompt(ENGLISH[0], languages=("English", "German")))


CODE = [
    "Fix this:\n```\nx\n```",
    "write a function for leap years",
    "Write me a short program that sorts photos",
    "explain the following code please",
    "my rust program crashes",
    "How do I center a div in CSS?",
    "is c++ hard",
    "from math import pi\nwhat does it do",
    "SELECT name FROM users is slow",
    "int main() {\n  go();\n}\n",
]
NO_CODE = [
    "How do I get rust off a pan?",
    "Draft a code of conduct for a chess club.",
    "Write a training program for a marathon.",
    "Write me a script for calling a doctor's office.",
    "What do pandas eat, and how do they react to people?",
    "Explain the idea, not the code.",
    "The dress code says casual; what does it mean?",
    "class trip:\nwhat should we pack?",
]
MATH = [
    "Solve for x: 2x + 3 = 9",
    "what is 17*23",
    "Prove that there are infinitely many primes.",
    r"Explain $\frac{a}{b}$ to me",
    "Calculate the area of a circle with radius 3",
    "standard deviation of 3, 4 and 8",
]
NO_MATH = [
    "My blood pressure is 134/86, and I'm on call 24/7.",
    "Plan a trip for 2-4 people from 3-5 May, budget $400 to $500.",
    "Give me 5 names, 3 of them funny.",
    "The parcel weighs 10 kg - is that too much?",
]


@pytest.mark.parametrize(
    ("test", "text", "expected"),
    [
        *((has_code, text, True) for text in CODE),
        *((has_code, text, False) for text in NO_CODE),
        *((has_math, text, True) for text in MATH),
        *((has_math, text, False) for text in NO_MATH),
    ],
)
def test_subjects(test: Callable[[str], bool], text: str, expected: bool) -> None:
    assert test(text) is expected


LENGTHS = [
    ("one two three four", "too_few_words"),
    ("one two three four five", None),
    ("one two three four five six seven eight", None),
    ("one two three four five six seven eight nine", "too_many_words"),
    ("the the a a an one two three", "weak_signal"),
]


@pytest.mark.parametrize(("text", "reason"), LENGTHS)
def test_length_bounds_are_inclusive(text: str, reason: str | None) -> None:
    filters = prompt_filters(BuildConfig(max_words=8))
    reasons = [test.name for test in filters if test.drops(prompt(text, languages=("en",)))]
    assert reasons == ([reason] if reason else [])


def test_long_context_counts_the_earlier_turns_only() -> None:
    (test,) = [test for test in prompt_filters(BuildConfig(max_context_words=3)) if test.name == "long_context"]
    assert not test.drops(prompt("one two three four five", "one two", "three"))
    assert not test.drops(prompt("one"))
    assert test.drops(prompt("one", "one two", "three four"))


@given(TEXT)
def test_every_filter_takes_any_text(text: str) -> None:
    for test in prompt_filters(BuildConfig(), Benchmarks(["some text"], 2).contain):
        assert test.drops(prompt(text, text)) in (True, False)


LONG_RUNS = ["\n" * 50_000, " " * 50_000 + "x", "{" * 50_000, "</a>" + "\n" * 50_000, "$" + "=" * 50_000, "1" * 50_000]


@pytest.mark.parametrize("run", LONG_RUNS)
def test_long_runs_of_one_character_cost_no_more_than_other_text(run: str) -> None:
    assert has_code(run) is False
    assert has_math(run) is False
    assert is_longer(run, 512)


@given(TEXT)
def test_words_ignore_case_and_white_space(text: str) -> None:
    assert words("  " + text.lower() + "\n") == words(text.lower())
    assert distinct_words(f"{text} {text}") == distinct_words(text)
    assert prefix(text, 3).split() == words(text)[:3]


@given(WORDS, WORDS, WORDS, st.integers(1, 6))
def test_a_benchmark_is_found_wherever_it_is_pasted(
    before: list[str], pasted: list[str], after: list[str], ngram: int
) -> None:
    assume(len(pasted) >= ngram)
    text = f"{' '.join(before)}: {' '.join(pasted).upper()}! {' '.join(after)}"
    assert Benchmarks([" ".join(pasted)], ngram).contain(text)


def test_every_split_of_a_benchmark_counts(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"prompt": f"what is asked in {split}"}) + "\n")
    benchmarks = Benchmarks.from_files([tmp_path], 8)
    assert benchmarks.contain("what is asked in train")
    assert benchmarks.contain("what is asked in test")


@given(WORDS, st.integers(2, 6))
def test_a_text_without_common_words_is_no_contamination(shared: list[str], ngram: int) -> None:
    assert not Benchmarks([" ".join(shared)], ngram).contain("quite different things stand in this sentence")
    assert not Benchmarks([" ".join(shared)], ngram).contain("?!")


def test_a_short_benchmark_prompt_is_found_when_it_is_the_whole_prompt() -> None:
    benchmarks = Benchmarks(["Why is the sky blue?"], 8)
    assert benchmarks.contain("why is the sky BLUE")
    assert not benchmarks.contain("why is the sky blue in winter and grey in November, do you think?")


@FEW
@given(WORDS)
def test_a_repeated_instruction_is_a_near_duplicate(text: list[str]) -> None:
    seen = NearDuplicates(0.7)
    assert not seen.add(" ".join(text))
    assert seen.add(" ".join(text).upper() + "!!")


@FEW
@given(st.lists(WORDS, max_size=8))
@example([["amber"], ["bee"], ["amber"]])
def test_near_duplicates_are_dropped_only_above_the_threshold(texts: list[list[str]]) -> None:
    seen, kept = NearDuplicates(0.6), []
    for text in map(" ".join, texts):
        likeness = max((jaccard(word_pairs(text), word_pairs(other)) for other in kept), default=0.0)
        if seen.add(text):
            assert likeness >= 0.6
        else:
            assert likeness < 1
            kept.append(text)


def test_one_word_more_in_a_long_instruction_is_a_near_duplicate() -> None:
    seen = NearDuplicates(0.7)
    text = "Plan a picnic for nine people on a windy hill, with a list of what each of them should bring."
    assert not seen.add(text)
    assert seen.add(text + " Please!")
    assert not seen.add("Plan a picnic for two people in a warm kitchen, with a list of songs for each of them.")


@given(st.lists(st.integers(0, 40), max_size=80), st.integers(1, 12), st.integers(), st.randoms())
def test_a_pool_is_the_same_sample_in_any_order(numbers: list[int], size: int, seed: int, random: Random) -> None:
    def sample(order: list[int]) -> Pool:
        pool = Pool(size, seed % 1000)
        for number in order:
            pool.add(prompt(f"Prompt number {number}"))
        return pool

    shuffled = list(numbers)
    random.shuffle(shuffled)
    one, other = sample(numbers), sample(shuffled)
    assert one.prompts() == other.prompts()
    assert len(one.prompts()) == min(size, len(set(numbers)))
    for pool in (one, other):
        assert pool.duplicates + pool.not_sampled + len(pool.prompts()) == len(numbers)


def test_a_larger_pool_begins_with_the_smaller_one_and_seeds_differ() -> None:
    prompts = [prompt(f"Prompt number {number}") for number in range(200)]

    def sample(size: int, seed: int) -> list[ChatPrompt]:
        pool = Pool(size, seed)
        for item in prompts:
            pool.add(item)
        return pool.prompts()

    assert sample(50, 1)[:20] == sample(20, 1)
    assert sample(20, 1) != sample(20, 2)


WRONG_OPTIONS = [
    {"num_prompts": 0},
    {"oversample": 0},
    {"near_duplicate_threshold": 0.0},
    {"near_duplicate_threshold": 1.5},
    {"min_words": 9, "max_words": 8},
    {"name": "../up"},
    {"name": "a b"},
]


@pytest.mark.parametrize("options", WRONG_OPTIONS)
def test_senseless_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(options))}"):
        BuildConfig(**options)


@pytest.mark.parametrize("threshold", [0.01, 0.99, 1.0])
def test_every_allowed_threshold_works(threshold: float) -> None:
    seen = NearDuplicates(threshold)
    text = "Plan a picnic for nine people on a windy hill."
    assert not seen.add(text)
    assert seen.add(text)
    assert seen.add(f"{text} Please!") == (threshold < 0.9)


def test_a_benchmark_is_found_whatever_its_apostrophes() -> None:
    benchmarks = Benchmarks(["I don't know what to cook for dinner"], ngram=8)
    assert benchmarks.contain("Well, I don’t know what to cook for dinner.")


def test_a_benchmark_without_a_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"empty\.jsonl holds no user turn"):
        Benchmarks.from_files([tmp_path / "empty.jsonl"], 8)


def test_a_row_of_a_benchmark_that_can_not_be_read_can_not_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "bench.jsonl").write_text('{"prompt": ["one", "two"]}\n')
    with pytest.raises(FlipError, match="a benchmark has to be read as a whole"):
        Benchmarks.from_files([tmp_path / "bench.jsonl"], 8)


def test_a_folder_with_files_in_no_split_is_no_benchmark(tmp_path: Path) -> None:
    row = '{"prompt": "Name three rivers that flow through the city of Vienna."}\n'
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(row)
    assert Benchmarks.from_files([tmp_path], 8)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["Name a mountain."]}), tmp_path / "more.parquet")
    with pytest.raises(UsageError, match=r"reads no more\.parquet; give the files one by one"):
        Benchmarks.from_files([tmp_path], 8)


@pytest.mark.parametrize("label", ["", " ", "en-US", "en_GB", "English"])
def test_english_has_many_labels_and_an_empty_one_says_nothing(label: str) -> None:
    row = {"prompt": "What should I cook for six people?", "language": label}
    assert is_english(read_prompt(row))
    assert not is_english(read_prompt({**row, "language": "de-AT"}))
