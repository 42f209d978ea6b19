"""Chat data with responses in it, from the local world: its judge, which ships, can read them."""

import json
import random
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.judge_training.lessons import Prompts
from open_instruct_flip.local import world
from open_instruct_flip.local.models import model_path

CONFIG = JudgeTrainingConfig(base=str(model_path("judge")), out="runs/judge", heldout=16)


@pytest.fixture
def rows():
    rng = random.Random(0)
    specs = rng.sample(world.split()[0], 60)
    return [{"prompt": world.instruction(spec), "response": world.respond(spec, rng)} for spec in specs]


@pytest.fixture
def data(rows, tmp_path):
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def config():
    return replace(CONFIG)


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(model_path("judge"))


@pytest.fixture
def prompts(tokenizer):
    return Prompts(tokenizer, CONFIG)
