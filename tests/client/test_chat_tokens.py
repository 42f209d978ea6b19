"""An answer in the pieces that its tokens are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.client.chat_tokens import PART_OF_CHARACTER, pieces

WORDS = st.lists(st.text(st.characters(exclude_characters=PART_OF_CHARACTER), min_size=1, max_size=6), min_size=1)


@given(WORDS)
def test_tokens_that_are_shown_as_they_are_are_the_pieces(words: list[str]) -> None:
    assert pieces("".join(words), words) == words


@given(st.lists(st.text("abcdefg", min_size=1, max_size=6), min_size=1))
def test_white_space_that_a_token_alone_does_not_show_is_with_the_token_before_it(words: list[str]) -> None:
    assert [piece.strip() for piece in pieces(" ".join(words), words)] == words


@given(st.text(min_size=1), st.lists(st.text(max_size=4), min_size=1))
def test_whatever_a_server_shows_the_pieces_are_the_answer(answer: str, texts: list[str]) -> None:
    found = pieces(answer, texts)
    assert "".join(found) == answer
    assert len(found) == len(texts)


def test_after_characters_in_parts_the_next_whole_token_is_found_again() -> None:
    part = PART_OF_CHARACTER
    assert pieces("日本語 is", [part, part, part, "本", part, part, part, "is"])[3::4] == ["本", "is"]
