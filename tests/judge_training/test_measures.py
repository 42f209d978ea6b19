"""The held-out measures, on the local judge that ships."""

import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from transformers import AutoModelForCausalLM

from open_instruct_flip.judge_training import measures
from open_instruct_flip.judge_training.lessons import Prompts
from open_instruct_flip.judge_training.measures import LINE_UP, HeldOut
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.local.models import model_path


def test_the_measures_are_what_the_judges_themselves_find(tokenizer, config, rows):
    judge = str(model_path("judge"))
    prompts = Prompts(tokenizer, config)
    pairs = [Pair((), row["response"], row["prompt"]) for row in rows[:LINE_UP]]
    model = AutoModelForCausalLM.from_pretrained(judge, dtype=torch.float32)
    measured = HeldOut(pairs, prompts, config).measure(model).means()
    served = LikelihoodJudge(judge, judge_transport="local")
    scores = [
        served.score_sync([{"role": "user", "content": pair.instruction}], [pair.response])[0].score for pair in pairs
    ]
    gains = [math.log(score / (1 - score)) for score in scores]
    assert measured["likelihood_gain"] == pytest.approx(fmean(gains), abs=1e-3)
    assert measured["readability"] > 0.9, "it was trained to write JSON"
    assert 1 / LINE_UP < measured["retrieval"] <= 1
    assert 0 < measured["f1"] <= 1
    assert model.training is False


def test_baselines_without_a_model(prompts, config):
    pairs = [Pair((), f"w{n} x{n} y{n}", f"w{n} x{n} z{n}") for n in range(LINE_UP)]
    baselines = HeldOut(pairs, prompts, config).baselines()
    assert baselines["the response itself"]["f1"] == pytest.approx(2 / 3)
    assert baselines["the response itself"]["retrieval"] == 1
    assert baselines["another instruction"]["f1"] == 0
    assert baselines["another instruction"]["retrieval"] == 1 / LINE_UP


def test_a_tie_of_k_counts_one_kth(prompts, config):
    pairs = [Pair((), "nothing in common", f"w{n} x{n}") for n in range(LINE_UP)]
    assert HeldOut(pairs, prompts, config).baselines()["the response itself"]["retrieval"] == 1 / LINE_UP


def test_what_is_generated_together_does_not_change_a_reply(tokenizer, config, rows, monkeypatch):
    config = replace(config, max_reply_tokens=8)
    pairs = [Pair((), row["response"][: 20 + 40 * number], row["prompt"]) for number, row in enumerate(rows[:LINE_UP])]
    model = AutoModelForCausalLM.from_pretrained(model_path("judge"), dtype=torch.float32)
    heldout = HeldOut(pairs, Prompts(tokenizer, config), config)
    together = heldout.measure(model)
    monkeypatch.setattr(measures, "TOKENS_AT_ONCE", 1)
    apart = heldout.measure(model)
    assert apart.inferred == together.inferred
    assert apart.means() == pytest.approx(together.means())


def test_the_line_ups_do_not_depend_on_the_order_of_pairs(prompts, config):
    pairs = [Pair((), f"{n} w{n % 5}", f"w{n % 5} x{n % 3} y{n}") for n in range(3 * LINE_UP)]
    there, back = (HeldOut(order, prompts, config).baselines() for order in (pairs, pairs[::-1]))
    assert there["the response itself"] == pytest.approx(back["the response itself"])
    assert there["another instruction"] == pytest.approx(back["another instruction"])


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([], []),
        ([20], [[20]]),
        ([1, 2, 3, 4, 20], [[1, 2, 3], [4], [20]]),
        ([2, 2, 2, 2, 2, 2], [[2, 2, 2, 2, 2], [2]]),
    ],
)
def test_parts_hold_so_many_tokens_when_padded(lengths, parts, monkeypatch):
    monkeypatch.setattr(measures, "TOKENS_AT_ONCE", 10)
    assert [lengths[part] for part in measures._parts(lengths)] == parts
