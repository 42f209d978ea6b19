"""What counts as a copy of the instruction, in every script and under every typography."""

from __future__ import annotations

import unicodedata

import pytest

from open_instruct_flip.similarity.copying import copy_rate, mask_copies, stands_in

COPIED = [
    ("Write a haiku about the sea.", "Sure. {}\n\nWaves."),
    ("请把下面的句子翻译成英文：今天天气很好。", "你说：{}好的"),
    ("夏の海についての俳句を一つ書いてください。", "はい、{}波の音"),
    ("เขียนบทกวีสั้นๆ เกี่ยวกับทะเล", "ได้เลย{}คลื่น"),
    ("សូមសរសេរកំណាព្យអំពីសមុទ្រ", "{}រលក"),
    ("ပင်လယ်အကြောင်း ကဗျာတစ်ပုဒ်ရေးပါ", "{}လှိုင်း"),
    ("समुद्र के बारे में एक कविता लिखो", "ठीक है: {} लहरें"),
    ("Напиши хайку про море и ветер", "Вот: {} Волны"),
    ("把这句话翻译成英文 please keep its style", "好的{}"),
]


@pytest.mark.parametrize(("instruction", "response"), COPIED)
def test_a_copy_is_one_in_every_script(instruction: str, response: str) -> None:
    copied = response.format(instruction)
    assert copy_rate(copied, instruction) == 1.0
    assert copy_rate(response.format(""), instruction) == 0.0
    left = mask_copies(copied + " 1", instruction)  # a word stays
    assert left.startswith(response.split("{}")[0])
    assert left.endswith(response.split("{}")[1] + " 1")
    assert instruction[2:-2] not in left


@pytest.mark.parametrize("text", ["समुद्र के बारे में एक कविता", "Viết một bài thơ về biển cả"])
def test_signs_of_their_own_do_not_split_words(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    four = " ".join(decomposed.split()[:4])
    assert copy_rate(four, decomposed) == 0.0
    assert mask_copies(f"1 {decomposed} 2", decomposed) == "1  2"


def test_two_characters_of_a_script_without_spaces_count_as_a_word() -> None:
    instruction = "请写一首关于大海的诗歌"
    assert copy_rate(instruction[:9], instruction) == 0.0
    assert copy_rate(instruction[:10], instruction) == 0.5
    assert mask_copies(f"中国{instruction[:9]}", instruction) == f"中国{instruction[:9]}"
    assert not stands_in("关于大海的诗", instruction)
    assert stands_in(instruction[:10], instruction)


def test_words_and_characters_add_up() -> None:
    instruction = "请用 Python 写程序，谢谢你"  # 8 characters and a word: 5 words
    assert copy_rate(instruction, instruction) == 1.0
    assert mask_copies(f"好。{instruction}！", instruction) == "好。！"
    assert copy_rate(instruction[1:], instruction) == 0.0


@pytest.mark.parametrize(
    ("response", "instruction"),
    [
        ("Explain why cats don't like water", "Explain why cats don’t like water"),
        ("Explain why cats don’t like water", "Explain why cats don't like water"),
        ("_Write a haiku_ about _the_ sea", "Write a haiku about the sea"),
        ("__WRITE A HAIKU ABOUT THE SEA__", "Write a haiku about the sea"),
        ("Set my_first_variable to 1", "Set my first variable to 1"),
    ],
)
def test_typography_hides_no_copy(response: str, instruction: str) -> None:
    assert copy_rate(response, instruction) == 1.0
    assert mask_copies(response, instruction) == ""


def test_what_is_not_masked_stays_as_it_was() -> None:
    response = "_Don’t_ ask me to_write a haiku about the sea. It’s my_sea."
    assert mask_copies(response, "Write a haiku about the sea") == "_Don’t_ ask me to_. It’s my_sea."


@pytest.mark.parametrize("around", ["{}.", '"{}."', "**{}.**", "_{}._", "> {}\n\n---", "🌊 {} 🌊", "{0}? {0}!"])
def test_nothing_is_left_where_only_marks_are(around: str) -> None:
    instruction = "Write a haiku about the sea"
    assert mask_copies(around.format(instruction), instruction) == ""
    assert mask_copies(around.format(instruction) + " 1", instruction).endswith(" 1")


@pytest.mark.parametrize("response", ["...", "🌊", "?!", "", "Waves."])
def test_what_copies_nothing_stays_whatever_it_is(response: str) -> None:
    assert mask_copies(response, "Write a haiku about the sea") == response
