"""How replies are made readable: which contract a server keeps is tried once, and what is sent and read under it."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_model import CONVERSATION, ENDPOINT, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, Completion, RequestFailed
from open_instruct_flip.errors import JudgeRefusedError, JudgeUnusableError, UsageError
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.judging.identity import judge_identity, settled
from open_instruct_flip.rewards import FailureKind, Usage

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


@pytest.mark.parametrize(
    ("lengths", "contract"), [((50, 53), "prefill"), ((53, 53), "free"), ((53, 50), "free"), ((0, 0), "free")]
)
async def test_a_judge_that_cannot_copy_shows_by_its_prompts_length_that_its_turn_stays_open(
    lengths: tuple[int, int], contract: str, model: ScriptedModel
) -> None:
    def answer(request: ChatRequest) -> Completion:
        if not request.messages[-1]["content"].endswith("Par"):
            return Completion(("Explain soil.",), ("stop",), Usage(80, 3, 1))
        assert request.max_tokens > 1 or request.temperature > 0, "an answer from the cache would have no length"
        return Completion(("spring",), ("length",), Usage(lengths[0] if opened(request) else lengths[1], 1, 1))

    model.answer = answer
    assert await judge_class("flip")(**AUTO).contract() == contract  # type: ignore[attr-defined]  # of ReplyJudge


@pytest.mark.parametrize(("server", "contract"), [(continuing, "prefill"), (forcing, "schema"), (ignoring, "free")])
def test_a_run_says_which_contract_its_replies_were_read_under(
    server: Callable[[str], Server], contract: str, model: ScriptedModel
) -> None:
    model.answer = server("pointwise")
    # What is settled on the loop of code without one stays settled for the endpoint, in this process.
    options = {**AUTO, "api_base": f"http://127.0.0.1:9/{contract}"}
    assert judge_identity(settled(judge_class("pointwise")(**options)), [])["reply_contract"] == contract
    mixed = settled(judge_class("pointwise+likelihood")(**options))
    assert judge_identity(mixed, [])["reply_contract"] == {"pointwise": contract}


def test_a_run_does_not_start_while_nobody_knows_the_contract(model: ScriptedModel) -> None:
    def gone(request: ChatRequest) -> str:
        raise RequestFailed(FailureKind.UNREACHABLE, "connection refused")

    model.answer = gone
    with pytest.raises(JudgeUnusableError, match=r"the flip judge could not be asked: unreachable: connection refused"):
        settled(judge_class("flip")(**{**AUTO, "api_base": "http://127.0.0.1:9/gone"}))


@pytest.mark.parametrize("name", ["flip", "flip+pointwise"])
async def test_a_settled_judge_tries_its_server_no_more_wherever_it_goes(name: str, model: ScriptedModel) -> None:
    model.answer = continuing("flip")
    judge = await judge_class(name)(**AUTO).settled()
    tried = len(model.requests)
    assert tried > 0
    other = judge_class(name)(**{**AUTO, "api_base": "http://127.0.0.1:9/other"}).client
    for sent in (judge, judge.remade(other.config), judge.remade(seed=3), pickle.loads(pickle.dumps(judge))):
        again = await sent.settled()
        assert again.options()["reply_contract"] == judge.options()["reply_contract"]
    assert len(model.requests) == tried


def test_parts_of_a_mixture_may_be_read_in_forms_of_their_own(model: ScriptedModel) -> None:
    model.answer = continuing("flip")
    mixed = settled(judge_class("flip+pointwise")(**{**AUTO, "api_base": "http://127.0.0.1:9/parts"}))
    assert mixed.options()["reply_contract"] == {"flip": "prefill", "pointwise": "free"}
    assert mixed.remade(seed=3).options()["seed"] == 3


async def test_an_opened_turn_ends_before_the_value_and_the_reply_is_the_whole_turn(model: ScriptedModel) -> None:
    model.answer = continuing("pairwise")
    judge = judge_class("pairwise")(**ENDPOINT, reply_contract="prefill")
    rewards = await judge.score(CONVERSATION, ["Soil is earth.", "Bananas."])
    assert model.requests[0].messages[-1] == {"role": "assistant", "content": '{"winner": "'}
    assert model.requests[0].stop == ('"',)
    assert rewards[0].reply == '{"winner": "A\n{"winner": "A'


FORCEABLE: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("pointwise", {}, [str(grade) for grade in range(1, 11)], ["0", "11", "7.5", '"8"', ""]),
    ("pairwise", {}, ["A", "B", "tie"], ["C", "a", "AB"]),
    ("listwise", {}, ["1", "2", "3"], ["0", "4", "1, 2"]),
    ("listwise", {"listwise_reward": "rank"}, ["3, 1, 2", "1, 2, 3"], ["1", "1,2,3", "4, 1, 2"]),
]


@pytest.mark.parametrize(("name", "options", "values", "others"), FORCEABLE, ids=lambda value: str(value)[:16])
async def test_on_an_opened_turn_a_server_can_force_what_is_read_and_nothing_else(
    name: str, options: dict[str, Any], values: list[str], others: list[str], model: ScriptedModel
) -> None:
    for value in values:
        model.answer = lambda request, value=value: value
        judge = judge_class(name)(**ENDPOINT, **options, reply_contract="prefill")
        rewards = await judge.score(CONVERSATION, ["Soil is earth.", "Bananas.", "Soil."])
        assert [reward.error for reward in rewards] == [None] * 3
        pattern = (model.requests[-1].extra_body or {})["structured_outputs"]["regex"]
        assert re.fullmatch(pattern, value)
    assert not any(re.fullmatch(pattern, other) for other in others)


@pytest.mark.parametrize("options", [{"reasoning": True}, {"reply_contract": "free"}, {"reply_contract": "schema"}])
async def test_nothing_is_forced_where_more_than_the_value_is_written(
    options: dict[str, Any], model: ScriptedModel
) -> None:
    await judge_class("pointwise")(**{**ENDPOINT, "reply_contract": "prefill", **options}).score(
        CONVERSATION, ["Soil."]
    )
    assert "structured_outputs" not in (model.requests[0].extra_body or {})


LINE = 'Write a story called "The Sea", set in a town, and say "hi",\\ or {"a": "b"} in it.'


async def test_flips_opened_turn_is_a_line_and_nothing_in_it_ends_it(model: ScriptedModel) -> None:
    model.answer = lambda request: f'{LINE}"'
    judge = judge_class("flip")(**ENDPOINT, reply_contract="prefill")
    (reward,) = await judge.score([{"role": "user", "content": LINE}], ["Once."])
    (request,) = model.requests
    assert request.messages[-1] == {"role": "assistant", "content": judge.prompt.opening}
    assert request.stop == ("\n",)
    assert "JSON" not in str(request.messages)
    assert (reward.score, reward.inferred_instruction) == (1.0, LINE)
    assert reward.reply == f'{judge.prompt.opening}{LINE}"'


@pytest.mark.parametrize("contract", ["schema", "free"])
async def test_where_no_line_can_be_opened_the_object_is_asked_for(contract: str, model: ScriptedModel) -> None:
    model.answer = lambda request: json.dumps({"instruction": LINE})
    judge = judge_class("flip")(**ENDPOINT, reply_contract=contract)
    (reward,) = await judge.score([{"role": "user", "content": LINE}], ["Once."])
    assert model.shown().endswith('Answer as {"instruction": "..."}')
    assert reward.score == 1.0


async def test_a_judge_that_opens_its_line_by_itself_is_read(model: ScriptedModel) -> None:
    judge = judge_class("flip")(**ENDPOINT, reply_contract="free")
    model.answer = lambda request: f'{judge.prompt.opening}{LINE}"'
    (reward,) = await judge.score([{"role": "user", "content": LINE}], ["Once."])
    assert (reward.score, reward.usage.requests) == (1.0, 1)
    model.answer = lambda request: f"{judge.prompt.opening} Say one thing.\n\n{judge.prompt.opening} Say another."
    (reward,) = await judge.score([{"role": "user", "content": LINE}], ["Once."])
    assert reward.error is FailureKind.UNREADABLE_REPLY


async def test_reasoning_comes_in_an_object(model: ScriptedModel) -> None:
    model.answer = lambda request: 'It explains.", "instruction": "Explain soil.'
    judge = judge_class("flip")(**ENDPOINT, reply_contract="prefill", reasoning=True)
    (reward,) = await judge.score(CONVERSATION, ["Soil is earth."])
    assert model.requests[0].messages[-1]["content"] == '{"reasoning": "'
    assert model.shown().endswith('Answer as {"reasoning": "<one short sentence>", "instruction": "..."}')
    assert reward.score == 1.0


@pytest.fixture
def own_prompts(tmp_path: Path) -> str:
    """A FLIP prompt without an opening of its own, whose replies are objects under every contract."""
    (tmp_path / "flip.system.txt").write_text("")
    (tmp_path / "flip.user.txt").write_text("{response}\n\nAnswer as {answer}")
    return str(tmp_path)


def ending_at_stops(text: str) -> Server:
    """A model that writes this text behind an opening, on a server that ends it at the first stop."""

    def answer(request: ChatRequest) -> str:
        if not opened(request):
            return json.dumps({"instruction": "Asked again."})
        return text[: min((place for stop in request.stop if (place := text.find(stop)) >= 0), default=len(text))]

    return answer


@pytest.mark.parametrize(
    ("written", "inferred"),
    [
        ('Explain "soil" to a child"}', 'Explain "soil" to a child'),
        ('Write about \\"The Sea\\", in winter."}', 'Write about "The Sea", in winter.'),
        ('Sort \\"one\\", \\"two\\" and \\"six\\"."}', 'Sort "one", "two" and "six".'),
        ('Fix {\\"a\\": \\"b\\"} for me."}', "Asked again."),  # ended within the inner object
        ('Sort "one", "two" and "six"."}', "Asked again."),
        ('Translate "good day"\ninto French."}', "Asked again."),
        ('Explain soil.", "language": "English"}', "Explain soil."),
    ],
)
async def test_an_opened_object_is_read_whole_or_asked_for_again(
    written: str, inferred: str, own_prompts: str, model: ScriptedModel
) -> None:
    model.answer = ending_at_stops(written)
    judge = judge_class("flip")(**ENDPOINT, reply_contract="prefill", prompt_dir=own_prompts)
    (reward,) = await judge.score(CONVERSATION, ["Soil is earth."])
    assert reward.inferred_instruction == inferred


@pytest.mark.parametrize("end", ["length", "content_filter"])
@pytest.mark.parametrize(
    ("contract", "name", "text"),
    [
        ("prefill", "pointwise", "1"),
        ("free", "pointwise", "It keeps all limits.\nScore: 1"),
        ("free", "pointwise", "Score: 7."),
        ("free", "listwise", "Ranking: 1"),
    ],
)
async def test_a_number_cut_off_at_the_limit_is_none(
    contract: str, name: str, text: str, end: str, model: ScriptedModel
) -> None:
    model.answer = lambda request: Completion((text,), (end,), Usage(9, 1, 1), 0.1)
    judge = judge_class(name)(**ENDPOINT, reply_contract=contract)
    rewards = await judge.score(CONVERSATION, ["Soil is earth.", "Bananas."])
    assert {reward.error for reward in rewards} == {FailureKind.UNREADABLE_REPLY}


def test_a_provider_that_is_sent_no_opened_turns_can_not_have_them_kept() -> None:
    with pytest.raises(UsageError, match=r"--reply_contract prefill needs a server that continues a turn"):
        judge_class("flip")("openai/gpt-4o-mini", reply_contract="prefill")


async def test_the_failure_of_one_who_left_is_not_for_the_next(model: ScriptedModel) -> None:
    def refused(request: ChatRequest) -> str:
        raise JudgeRefusedError("404: no such model")

    model.answer = refused
    judge = judge_class("pointwise")(**AUTO)
    left = asyncio.create_task(judge.score(CONVERSATION, ["Soil."]))
    for _ in range(99):
        if model.requests:  # the settling is under way
            break
        await asyncio.sleep(0)
    left.cancel()
    for _ in range(9):  # the refusal comes while nobody waits for it
        await asyncio.sleep(0)
    model.answer = continuing("pointwise")
    (reward,) = await judge.score(CONVERSATION, ["Soil."])
    assert reward.score == 0.8


async def test_a_refusal_while_trying_is_no_verdict_on_the_contract(model: ScriptedModel) -> None:
    def refused(request: ChatRequest) -> str:
        raise JudgeRefusedError("404: no such model")

    model.answer = refused
    judge = judge_class("pointwise")(**AUTO)
    with pytest.raises(JudgeRefusedError):
        await judge.score(CONVERSATION, ["Soil."])
    model.answer = continuing("pointwise")
    (reward,) = await judge.score(CONVERSATION, ["Soil."])
    assert reward.score == 0.8


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
