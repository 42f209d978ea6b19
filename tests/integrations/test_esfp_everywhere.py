"""The esfp judge gives the same rewards by every way, without a model server where it asks for no explanation."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from scored import read_jsonl
from tiny_masked_lm import save_tiny_masked_lm

from open_instruct_flip.commands.main import run
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.integrations.verl import compute_score
from open_instruct_flip.judges.esfp.judge import EsfpJudge

pytest.importorskip("torch")

INSTRUCTION = "Name a colour."
RESPONSES = ["Red.", "The sky was cold, and the rain was cold.", "Nothing.", "Blue sky!"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_tiny_masked_lm(tmp_path_factory.mktemp("masked")))


@pytest.fixture
async def expected(folder):
    rewards = await EsfpJudge(esfp_model=folder).score([{"role": "user", "content": INSTRUCTION}], RESPONSES)
    scores = [reward.score for reward in rewards]
    assert len(set(scores)) == len(RESPONSES)
    return pytest.approx(scores, abs=1e-5)


def test_flip_score(folder, expected, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": INSTRUCTION, "responses": RESPONSES}))
    out = tmp_path / "out.jsonl"
    assert run(["score", str(tmp_path / "in.jsonl"), str(out), "--judge", "esfp", "--esfp_model", folder]) == 0
    assert [row["reward"] for row in read_jsonl(out)] == expected


async def test_trl(folder, expected):
    prompts = [[{"role": "user", "content": INSTRUCTION}] for _ in RESPONSES]
    completions = [[{"role": "assistant", "content": text}] for text in RESPONSES]
    reward = flip_reward(EsfpJudge(esfp_model=folder))
    assert await reward(prompts=prompts, completions=completions) == expected


async def test_verl(folder, expected):
    options = {"judge": "esfp", "esfp_model": folder}
    results = [await compute_score("", text, INSTRUCTION, {}, **options) for text in RESPONSES]
    assert [result["score"] for result in results] == expected


async def test_open_instructs_verifier(folder, expected, open_instruct):
    from open_instruct import data_loader

    config = data_loader.StreamingDataLoaderConfig(flip_esfp_model=folder, flip_judge_transport="none")
    verifiers = open_instruct.ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=1), config)
    calls = [verifiers["general-esfp"].async_call([], text, INSTRUCTION, f"user: {INSTRUCTION}") for text in RESPONSES]
    assert [result.score for result in await asyncio.gather(*calls)] == expected
