"""The same 200 responses get the same rewards whichever way they come."""

import asyncio
import json
import random
from types import SimpleNamespace

import pytest
from judge_double import TEXT
from running_reward_server import MODEL, RunningRewardServer
from scored import command, read_jsonl

from open_instruct_flip import FlipJudge
from open_instruct_flip.commands.main import run
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.integrations.verl import compute_score
from open_instruct_flip.local.models import model_path
from open_instruct_flip.serve.reward.openrlhf import load_tokenizer

INSTRUCTIONS = [f"Write {count} words about the soil of spring, please." for count in range(3, 28)]
RESPONSES = 8
POLICY = str(model_path("policy"))


@pytest.fixture(scope="module")
def groups():
    """25 instructions with 8 different responses each."""
    draw, words = random.Random(3), TEXT.split()
    return [(one, [" ".join(draw.sample(words, 9)) for _ in range(RESPONSES)]) for one in INSTRUCTIONS]


@pytest.fixture
def url(judge_double):
    return judge_double().api_base


@pytest.fixture
async def expected(groups, url):
    """What the judge itself says."""
    async with FlipJudge(MODEL, url, judge_transport="direct") as judge:
        rewards = [await judge.score([{"role": "user", "content": one}], texts) for one, texts in groups]
    scores = [reward.score for of_group in rewards for reward in of_group]
    assert len(scores) == 200
    assert len(set(scores)) > 20
    return scores


def test_flip_score(groups, url, expected, tmp_path):
    rows = [json.dumps({"prompt": one, "responses": texts}) for one, texts in groups]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    assert run(command(tmp_path / "in.jsonl", tmp_path / "out.jsonl", url)) == 0
    assert [row["reward"] for row in read_jsonl(tmp_path / "out.jsonl")] == expected


def test_the_reward_server_in_both_forms(groups, url, expected):
    tokenizer = load_tokenizer(POLICY)
    body = {"query": [], "prompts": [], "labels": []}
    for one, texts in groups:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": one}], add_generation_prompt=True, tokenize=False
        )
        body["query"] += [f"{prompt}{text}{tokenizer.eos_token}" for text in texts]
        body["prompts"] += [prompt] * RESPONSES
        body["labels"] += [one] * RESPONSES
    with RunningRewardServer(url, server={"tokenizer": POLICY}) as server:
        rows = server.rewards(*({"prompt": one, "responses": texts} for one, texts in groups)).json()["rewards"]
        assert [row["score"] for row in rows] == expected
        assert server.client.post("/get_reward", json=body).json()["rewards"] == expected


async def test_trl(groups, url, expected):
    prompts = [[{"role": "user", "content": one}] for one, texts in groups for _ in texts]
    completions = [[{"role": "assistant", "content": text}] for _, texts in groups for text in texts]
    async with FlipJudge(MODEL, url, judge_transport="direct") as judge:
        assert await flip_reward(judge)(prompts=prompts, completions=completions) == expected


async def test_verls_function(groups, url, expected):
    options = {"model": MODEL, "api_base": url, "judge_transport": "direct"}
    results = [await compute_score("flip", text, one, {}, **options) for one, texts in groups for text in texts]
    assert [result["score"] for result in results] == expected


async def test_verls_own_reward_manager(groups, url, expected):
    pytest.importorskip("verl", reason="verl is not installed beside this project")
    import verl_manager

    options = {"model": MODEL, "api_base": url, "judge_transport": "direct"}
    results = [result for one, texts in groups for result in await verl_manager.rewards(one, texts, **options)]
    assert [result["reward_score"] for result in results] == expected


async def test_verifiers_own_task(groups, url, expected):
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed beside this project")
    from verifiers_task import scored

    async with FlipJudge(MODEL, url, judge_transport="direct") as judge:
        traces = [await scored(vf, judge, text, prompt=one) for one, texts in groups for text in texts]
    assert [trace.reward for trace in traces] == expected


async def test_open_instructs_verifier(groups, url, expected, open_instruct):
    from open_instruct import data_loader

    config = data_loader.StreamingDataLoaderConfig(llm_judge_model=MODEL, flip_api_base=url)
    verifiers = open_instruct.ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=1), config)
    verifier = verifiers["general-flip"]
    calls = [verifier.async_call([], text, one, f"user: {one}") for one, texts in groups for text in texts]
    results = await asyncio.gather(*calls)
    assert [result.score for result in results] == expected
