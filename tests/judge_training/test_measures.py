"""The held-out measures, on the local judge that ships."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from open_instruct_flip.judge_training.lessons import IGNORED
from open_instruct_flip.judge_training.measures import LINE_UP, HeldOut
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judges.likelihood import NO_RESPONSE
from open_instruct_flip.local.models import model_path


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(model_path("judge"), dtype=torch.float32)


def test_the_likelihood_gain_is_what_the_models_own_loss_says(model, prompts, config, rows):
    pairs = [Pair((), row["response"], row["prompt"]) for row in rows[:LINE_UP]]

    def loss(pair):
        lesson = prompts.statement(pair, ended=False)
        labels = torch.tensor([[IGNORED] * lesson.start + lesson.ids[lesson.start :]])
        with torch.no_grad():
            return model(input_ids=torch.tensor([lesson.ids]), labels=labels).loss.item()

    gains = [loss(Pair((), NO_RESPONSE, pair.instruction)) - loss(pair) for pair in pairs]
    measured = HeldOut(pairs, prompts, config).measure(model)
    assert measured["likelihood_gain"] == pytest.approx(sum(gains) / LINE_UP, abs=1e-4)
    assert 0 < measured["f1"] <= 1
    assert measured["readability"] > 0.9, "it was trained to write JSON"
    assert 1 / LINE_UP < measured["retrieval"] <= 1
    assert measured["f1_se"] > 0
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
