"""What the body of a chat answer holds, and when it is none."""

from __future__ import annotations

from typing import Any

import pytest

from open_instruct_flip.client.request import RequestFailed, read_completion
from open_instruct_flip.rewards import FailureKind


def body(text: str, end: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": end}], "usage": {}}


@pytest.mark.parametrize("end", ["abort", "error"])
def test_an_answer_that_the_server_broke_off_is_asked_for_again(end: str) -> None:
    with pytest.raises(RequestFailed, match=rf"judge broke the answer off: {end}") as failed:
        read_completion(body("1", end), where="judge", thinking=False)
    assert failed.value.kind is FailureKind.SERVER_ERROR
    assert failed.value.retryable


@pytest.mark.parametrize("end", ["stop", "length", ""])
def test_any_other_answer_is_read_with_how_it_ended(end: str) -> None:
    completion = read_completion(body("1", end), where="judge", thinking=False)
    assert (completion.texts, completion.finish_reasons) == (("1",), (end,))


@pytest.mark.parametrize(("thinking", "text"), [(False, "Score: 3"), (True, "<think>Score: 3")])
def test_a_thought_that_no_answer_follows_is_one_only_where_thinking_is_off(thinking: bool, text: str) -> None:
    answer = {"message": {"content": None, "reasoning_content": "Score: 3"}, "finish_reason": "stop"}
    assert read_completion({"choices": [answer]}, where="judge", thinking=thinking).texts == (text,)
