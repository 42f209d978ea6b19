"""How replies are made readable: which contract a server keeps is tried once, and what is sent and read under it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from scripted_model import CONVERSATION, ENDPOINT, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import FailureKind

AUTO: dict[str, Any] = {**ENDPOINT, "reply_contract": "auto"}
VALUES = {"flip": "Explain soil.", "pointwise": "8", "pairwise": "A", "listwise": "1"}
WHOLE: dict[str, dict[str, Any]] = {
    "flip": {"instruction": "Explain soil."},
    "pointwise": {"score": 8},
    "pairwise": {"winner": "A"},
    "listwise": {"ranking": [1]},
}
NAMES = sorted(VALUES)
Server = Callable[[ChatRequest], str]


def opened(request: ChatRequest) -> bool:
    return (request.extra_body or {}).get("continue_final_message", False)


def continuing(name: str) -> Server:
    """A server that goes on with an assistant's turn that was begun."""

    def answer(request: ChatRequest) -> str:
        if not opened(request):
            return "Well."
        return 'is"}' if request.messages[-1]["content"].endswith("Par") else VALUES[name]

    return answer


def forcing(name: str) -> Server:
    """A server that refuses opened turns, and forces a schema."""

    def answer(request: ChatRequest) -> str:
        if opened(request):
            raise RequestFailed(FailureKind.REJECTED, "the last message must be a user's")
        return json.dumps(WHOLE[name]) if request.response_format else "Well."

    return answer


def ignoring(name: str) -> Server:
    """A server that starts a turn of its own whatever it is asked for, its JSON in a fence."""

    def answer(request: ChatRequest) -> str:
        return f"Sure:\n```json\n{json.dumps(WHOLE[name])}\n```"

    return answer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("server", "contract"), [(continuing, "prefill"), (forcing, "schema"), (ignoring, "free")], ids=lambda v: str(v)
)
async def test_the_surest_contract_that_the_server_keeps_is_taken(
    name: str, server: Callable[[str], Server], contract: str, model: ScriptedModel
) -> None:
    model.answer = server(name)
    judge = judge_class(name)(**AUTO)
    rewards = await judge.score(CONVERSATION, ["Soil is earth.", "Bananas."])
    assert await judge.contract() == contract  # type: ignore[attr-defined]  # of ReplyJudge
    assert [reward.error for reward in rewards] == [None, None]


async def test_an_opened_turn_ends_before_the_value_and_the_reply_is_the_whole_object(model: ScriptedModel) -> None:
    model.answer = continuing("flip")
    judge = judge_class("flip")(**ENDPOINT, reply_contract="prefill")
    (reward,) = await judge.score(CONVERSATION, ["Soil is earth."])
    (request,) = model.requests
    assert request.messages[-1] == {"role": "assistant", "content": '{"instruction": "'}
    assert '"}' in request.stop
    assert (reward.score, reward.reply) == (1.0, '{"instruction": "Explain soil."}')


async def test_a_quotation_in_the_value_is_no_end_of_it(model: ScriptedModel) -> None:
    model.answer = lambda request: 'Explain "soil" to a child'
    judge = judge_class("flip")(**ENDPOINT, reply_contract="prefill")
    (reward,) = await judge.score(CONVERSATION, ["Soil is earth."])
    assert reward.inferred_instruction == 'Explain "soil" to a child'


async def test_it_is_tried_once_for_all_groups_at_the_same_time(model: ScriptedModel) -> None:
    model.answer = continuing("pointwise")
    judge = judge_class("pointwise")(**AUTO)
    await asyncio.gather(*(judge.score(CONVERSATION, [f"Soil {n}."]) for n in range(20)))
    assert len(model.requests) == 20 + 2  # does it continue turns, can the sample be read


async def test_an_outage_while_trying_is_a_failure_of_the_call_and_tried_again(model: ScriptedModel) -> None:
    def down(request: ChatRequest) -> str:
        raise RequestFailed(FailureKind.UNREACHABLE, "no connection")

    model.answer = down
    judge = judge_class("pointwise")(**AUTO)
    (reward,) = await judge.score(CONVERSATION, ["Soil."])
    assert reward.error is FailureKind.UNREACHABLE
    model.answer = continuing("pointwise")
    (reward,) = await judge.score(CONVERSATION, ["Soil."])
    assert reward.score == 0.8


async def test_a_model_that_thinks_is_neither_opened_nor_forced(model: ScriptedModel) -> None:
    model.answer = lambda request: '<think>Hm</think>{"score": 7}'
    (reward,) = await judge_class("pointwise")(**AUTO, thinking=True).score(CONVERSATION, ["Soil."])
    assert reward.score == 0.7
    assert [(opened(r), r.response_format) for r in model.requests] == [(False, None)]


def test_an_unknown_contract_is_refused() -> None:
    with pytest.raises(UsageError, match="--reply_contract is one of auto, prefill, schema, free, got 'json'"):
        judge_class("flip")(**ENDPOINT, reply_contract="json")
