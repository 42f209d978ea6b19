"""The esfp judge with a tiny random masked language model: its reward is that of a plain forward pass."""

from __future__ import annotations

import asyncio
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_model import FORCED, ScriptedModel
from tiny_masked_lm import SLOT, save_tiny_masked_lm, tokenizer

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import JudgeUnusableError, UsageError
from open_instruct_flip.judges.esfp import masked_model as module
from open_instruct_flip.judges.esfp.filling import Filler
from open_instruct_flip.judges.esfp.judge import EsfpJudge
from open_instruct_flip.judges.esfp.masked_model import MaskedModel
from open_instruct_flip.judges.esfp.slot import FILE_NAME, TEMPLATE, Slot, read_slot, write_slot
from open_instruct_flip.rewards import FailureKind, Usage

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CONVERSATION: list[Message] = [{"role": "user", "content": "Name a colour."}]
RESPONSES = ["Red.", "The sky was cold, the rain was cold, and the soil misses every point of it.", "Blue!"]
EXPLAINED = Slot(TEMPLATE, ("good", "fine"), ("bad", "awful"), 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_masked_lm(tmp_path_factory.mktemp("masked")))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_masked_lm(tmp_path_factory.mktemp("explained"), EXPLAINED))


def by_hand(folder: str, text: str, positive: list[str], negative: list[str]) -> float:
    """The slot's words in a whole forward pass of the filled template as one text."""
    words = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, dtype="float32").eval()
    ids = words(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        chances = model(input_ids=ids).logits[0].double().softmax(-1)[(ids[0] == words.mask_token_id).nonzero().item()]
    good, bad = (sum(chances[words.convert_tokens_to_ids(one)].item() for one in side) for side in (positive, negative))
    return good / (good + bad)


async def test_the_reward_is_the_share_of_the_positive_words_without_a_model_server(folder: str) -> None:
    rewards = await EsfpJudge(esfp_model=folder).score(CONVERSATION, [*RESPONSES, RESPONSES[0], " "])
    for response, reward in zip(RESPONSES, rewards, strict=False):
        text = f"Instruction: Name a colour.\nResponse: {response}\nOverall, the response is [MASK]."
        assert reward.score == pytest.approx(by_hand(folder, text, ["good"], ["bad"]), abs=1e-5)
    assert len({reward.score for reward in rewards[:3]}) == 3
    assert rewards[3] == replace(rewards[0], duplicate=True)
    assert rewards[4].score == 0.0
    assert not any(reward.truncated for reward in rewards)


async def test_the_explanation_stands_in_the_template(explained: str, model: ScriptedModel) -> None:
    model.answer = lambda request: json.dumps({"explanation": "It misses every point."})
    judge = EsfpJudge(esfp_model=explained, **FORCED)
    (reward,) = await judge.score([{"role": "system", "content": "Be cold."}, *CONVERSATION], ["Red."])
    text = (
        "Instruction: system: Be cold.\nuser: Name a colour.\nResponse: Red.\nReview: It misses every point.\n"
        "Overall, the response is [MASK]."
    )
    assert reward.score == pytest.approx(by_hand(explained, text, ["good", "fine"], ["bad", "awful"]), abs=1e-5)
    assert (reward.usage, reward.latency_s) == (Usage(101, 7, 1), 0.5)
    assert reward.reply == '{"explanation": "It misses every point."}'
    assert "<response>\nRed.\n</response>" in model.shown()
    assert "system: Be cold." in model.shown()


async def test_the_explanation_is_a_line_where_the_turn_can_be_opened(explained: str, model: ScriptedModel) -> None:
    model.answer = lambda request: ' It names a colour, "red".'
    judge = EsfpJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1", esfp_model=explained, reply_contract="prefill")
    asked = await judge.explain(CONVERSATION, "Red.")
    assert asked.readings == ['It names a colour, "red".']
    (request,) = model.requests
    assert request.messages[-1] == {"role": "assistant", "content": "Explanation:"}
    assert (request.stop, "JSON" in str(request.messages)) == (("\n",), False)


async def test_without_explanations_nothing_is_asked_and_their_place_is_empty(
    explained: str, model: ScriptedModel
) -> None:
    (reward,) = await EsfpJudge(esfp_model=explained, esfp_explanation="none").score(CONVERSATION, ["Red."])
    text = "Instruction: Name a colour.\nResponse: Red.\nReview: \nOverall, the response is [MASK]."
    assert reward.score == pytest.approx(by_hand(explained, text, ["good", "fine"], ["bad", "awful"]), abs=1e-5)
    assert model.requests == []


async def test_an_explanation_that_fails_is_a_failure_and_never_a_zero(explained: str, model: ScriptedModel) -> None:
    judge = EsfpJudge(esfp_model=explained, **FORCED)
    model.answer = lambda request: '{"explanation": ""}'
    (reward,) = await judge.score(CONVERSATION, ["Red."])
    assert (reward.score, reward.error, reward.usage.requests) == (None, FailureKind.UNREADABLE_REPLY, 2)

    def refuse(request: Any) -> str:
        raise RequestFailed(FailureKind.RATE_LIMITED, "slow down")

    model.answer = refuse
    (reward,) = await judge.score(CONVERSATION, ["Red."])
    assert (reward.score, reward.error, reward.detail) == (None, FailureKind.RATE_LIMITED, "slow down")


async def test_a_model_that_fails_is_a_failure_of_what_it_read_then(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = EsfpJudge(esfp_model=folder)
    with monkeypatch.context() as broken:
        broken.setattr(MaskedModel, "answer", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        (reward,) = await judge.score(CONVERSATION, ["Red."])
    assert (reward.error, "out of memory" in (reward.detail or "")) == (FailureKind.SERVER_ERROR, True)
    assert (await judge.score(CONVERSATION, ["Red."]))[0].score is not None


async def test_the_process_loads_a_folder_once_whoever_judges(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module.masked_model.cache_clear()
    loads, load = [], module.load_masked_model
    monkeypatch.setattr(module, "load_masked_model", lambda *given: loads.append(given) or load(*given))
    judge = EsfpJudge(esfp_model=folder)
    judges = [judge, EsfpJudge(esfp_model=folder), pickle.loads(pickle.dumps(judge))]
    judged = await asyncio.gather(*(one.score(CONVERSATION, RESPONSES) for one in judges))
    scores = [[reward.score for reward in rewards] for rewards in judged]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert scores[2] == pytest.approx(scores[0], abs=1e-5)
    assert len(loads) == 1


async def test_a_group_gives_what_each_response_gives_alone(folder: str) -> None:
    judge = EsfpJudge(esfp_model=folder)
    together = await judge.score(CONVERSATION, RESPONSES)
    alone = [(await judge.score(CONVERSATION, [response]))[0].score for response in RESPONSES]
    assert [reward.score for reward in together] == pytest.approx(alone, abs=1e-5)


def test_what_is_too_long_loses_the_middle_of_its_longest_parts_and_says_so() -> None:
    words = tokenizer()
    filled = Filler(words, EXPLAINED).fill("Name a colour.", f"red {'rain ' * 50} blue", f"warm {'soil ' * 50} cold")
    text = words.decode(filled.ids)
    assert (len(filled.ids), filled.truncated) == (64, True)
    assert filled.ids[filled.slot] == words.mask_token_id
    assert "name a colour" in text
    for part in ("response : red rain", "rain blue review : warm soil", "soil cold overall , the response is [MASK]"):
        assert part in text
    whole = Filler(words, EXPLAINED).fill("Name a colour.", "red", "warm")
    assert (len(whole.ids) < 64, whole.truncated) == (True, False)


async def test_a_reward_says_that_a_part_lost_its_middle(folder: str) -> None:
    (reward,) = await EsfpJudge(esfp_model=folder).score(CONVERSATION, ["rain " * 200])
    assert reward.truncated
    assert reward.score is not None


def test_no_text_becomes_a_mask_or_another_special_token() -> None:
    words = tokenizer()
    filled = Filler(words, SLOT).fill("[CLS] a [MASK]", "[MASK] red [SEP] [PAD] [MASK]")
    counts = [filled.ids.count(words.convert_tokens_to_ids(token)) for token in ("[CLS]", "[MASK]", "[SEP]", "[PAD]")]
    assert counts == [1, 1, 1, 0]
    assert filled.ids[filled.slot] == words.mask_token_id


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{instruction} {response}", "lacks {mask}"),
        ("{response} {mask}", "lacks {instruction}"),
        ("{instruction} {response} {mask} {mask}", "has {mask} 2 times"),
        ("{instruction} {response} {mask} {verdict}", "has {verdict}, which nothing fills"),
    ],
)
def test_a_template_without_its_places_is_refused(template: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Slot(template)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"positive": ("unkind",)}, "'unkind' is 2 tokens"),
        ({"negative": ("zebra",)}, "or none that it knows"),
        ({"max_length": 32, "template": "{instruction} " + "soil " * 20 + "{response} {mask}"}, "template alone has"),
    ],
)
def test_a_slot_that_a_model_can_not_fill_is_refused(words: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Filler(tokenizer(), replace(SLOT, **words))


async def test_a_model_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    judge = EsfpJudge(esfp_model=str(save_tiny_masked_lm(tmp_path, mask=False)))
    with pytest.raises(JudgeUnusableError, match="has no mask token"):
        await judge.score(CONVERSATION, ["Red."])


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    write_slot(tmp_path, SLOT, {})
    with pytest.raises(JudgeUnusableError, match="holds no masked language model"):
        await EsfpJudge(esfp_model=str(tmp_path)).score(CONVERSATION, ["Red."])


@pytest.mark.parametrize(
    ("about", "fault"),
    [
        (None, "can't be read"),
        ("{", "is no JSON"),
        ('{"format": 2}', "is of format 2, this version reads 1"),
        ('{"format": 1, "template": "{mask}"}', "lacks"),
    ],
)
def test_a_folder_that_describes_no_slot_is_refused(about: str | None, fault: str, tmp_path: Path) -> None:
    if about is not None:
        (tmp_path / FILE_NAME).write_text(about)
    with pytest.raises(UsageError, match=fault):
        EsfpJudge(esfp_model=str(tmp_path))


def test_a_slot_is_read_as_it_was_written(explained: str) -> None:
    assert read_slot(explained) == EXPLAINED


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "needs --esfp_model"),
        ({"esfp_explanation": "all"}, "is one of auto, none"),
        ({"esfp_model": "explained"}, "no judge model given"),
        ({"esfp_model": "explained", "judge_transport": "none"}, "the esfp judge asks a model"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], fault: str, explained: str) -> None:
    given = {name: explained if value == "explained" else value for name, value in options.items()}
    with pytest.raises(UsageError, match=fault):
        EsfpJudge(**given)


async def test_two_trainings_into_the_same_path_are_two_judges(tmp_path: Path) -> None:
    folder = save_tiny_masked_lm(tmp_path)
    before = EsfpJudge(esfp_model=str(folder)).prompt_texts()
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    model.bert.embeddings.word_embeddings.weight.data.mul_(2)
    model.save_pretrained(folder)
    write_slot(folder, SLOT, {})
    assert EsfpJudge(esfp_model=str(folder)).prompt_texts() != before
