"""The model in this process: its log-probabilities are those of a plain forward pass, however they are batched."""

from __future__ import annotations

import asyncio
import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from open_instruct_flip.client import local_model as module
from open_instruct_flip.client.answers import AnswerReader
from open_instruct_flip.client.chat_tokens import chat_tokens
from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.local_model import Item, LocalModel
from open_instruct_flip.client.probe import check_endpoints
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.likelihood import LikelihoodJudge, logistic
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.judging.identity import judge_identity
from open_instruct_flip.local.models import model_path
from open_instruct_flip.rewards import FailureKind, Usage

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FOLDER = str(model_path("judge"))
LOCAL: dict[str, Any] = {"model": FOLDER, "judge_transport": "local"}
INSTRUCTION = "Write a short poem about the soil."
CONVERSATION: list[Message] = [{"role": "user", "content": INSTRUCTION}]
RESPONSES = ["The soil is warm.", "Rain, rain, and then some more rain on the long road home.", "Snow."]


async def test_each_token_is_a_piece_of_the_instruction_and_they_make_the_reward() -> None:
    instruction = "Écris un poème 🌱 about the soil;\n  日本語 too."
    async with LikelihoodJudge(**LOCAL) as judge:
        (reward,) = await judge.score([{"role": "user", "content": instruction}], RESPONSES[:1])
    assert reward.tokens is not None
    assert "".join(token.text for token in reward.tokens) == instruction
    gains = [token.logprob - (token.prior or 0.0) for token in reward.tokens]
    assert reward.score == pytest.approx(logistic(sum(gains) / len(gains)))


@pytest.fixture(scope="module")
def plain() -> Any:
    """The model as transformers loads it, without anything of ours."""
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype="float32").eval()


def expected(plain: Any, ids: list[int], start: int) -> list[float]:
    with torch.inference_mode():
        logprobs = torch.log_softmax(plain(torch.tensor([ids])).logits[0].double(), -1)
    return [logprobs[place - 1, ids[place]].item() for place in range(start, len(ids))]


def random_items(count: int) -> list[Item]:
    generator = torch.Generator().manual_seed(3)
    prefix = torch.randint(5, 1000, (40,), generator=generator).tolist()
    lengths = torch.randint(2, 60, (count, 2), generator=generator).tolist()
    tails = [torch.randint(5, 1000, (a + b,), generator=generator).tolist() for a, b in lengths]
    return [Item(prefix + tail, 40 + a) for tail, (a, _) in zip(tails, lengths, strict=True)]


@pytest.mark.parametrize("shared", [True, False])
def test_batches_with_and_without_a_shared_prefix_give_the_plain_forward_pass(
    shared: bool, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_SHARED", 16 if shared else 10**6)
    model = LocalModel(FOLDER, "cpu", "auto")
    model._load()
    passes: list[tuple[int, ...]] = []
    model._model.register_forward_pre_hook(
        lambda _, args, given: passes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    items = random_items(9)
    found = [model.read(item.ids, item.start) for item in items]
    for item, logprobs in zip(items, found, strict=True):
        assert logprobs.result(timeout=60) == pytest.approx(expected(plain, item.ids, item.start), abs=1e-4)
    assert ((1, 40) in passes) is shared


def test_an_answer_right_behind_the_first_token_and_twins_are_read_too(plain: Any) -> None:
    model = LocalModel(FOLDER, "cpu", "float32")
    model._load()
    ids = [7, 9, 11, 13]
    found = [model.read(list(ids), 1), model.read(list(ids), 1), model.read(list(ids), 3)]
    for logprobs, start in zip(found, (1, 1, 3), strict=True):
        assert logprobs.result(timeout=60) == pytest.approx(expected(plain, ids, start), abs=1e-4)


@pytest.mark.parametrize("target", ["instruction", "response"])
async def test_the_judge_gives_the_rewards_of_a_plain_forward_pass(target: str, plain: Any) -> None:
    judge = LikelihoodJudge(**LOCAL, likelihood_target=target, normalise="mean")
    rewards = await judge.score(CONVERSATION, [*RESPONSES, RESPONSES[0]])
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    for reward, response in zip(rewards, RESPONSES, strict=False):
        chat = judge.prompt.messages(conversation="", response=response) if target == "instruction" else CONVERSATION
        answer = INSTRUCTION if target == "instruction" else response
        ids, start = chat_tokens(tokenizer, [*chat, {"role": "assistant", "content": answer}], {})
        logprobs = expected(plain, ids, start)
        assert tokenizer.decode(ids[start:]).strip() == answer
        assert reward.score == pytest.approx(math.exp(sum(logprobs) / len(logprobs)), abs=1e-4)
    assert rewards[3].duplicate
    assert judge.sees_instruction is (target == "response")


async def test_a_group_pays_for_what_it_asked_and_the_next_one_of_its_instruction_for_less() -> None:
    judge = LikelihoodJudge(**LOCAL)
    first = await judge.score(CONVERSATION, RESPONSES)
    again = pickle.loads(pickle.dumps(judge))
    assert sum((reward.usage for reward in first), Usage()).requests == len(RESPONSES) + 1
    second = await judge.score(CONVERSATION, RESPONSES)
    assert sum((reward.usage for reward in second), Usage()).requests == len(RESPONSES)
    assert [r.score for r in await again.score(CONVERSATION, RESPONSES)] == pytest.approx(
        [r.score for r in first], abs=1e-4
    )


async def test_a_response_too_long_for_the_model_loses_its_middle() -> None:
    (reward,) = await LikelihoodJudge(**LOCAL).score(CONVERSATION, ["soil and rain " * 400])
    assert reward.score is not None
    assert reward.truncated
    (reward,) = await LikelihoodJudge(**LOCAL).score([{"role": "user", "content": "soil " * 1500}], ["Soil."])
    assert reward.error is FailureKind.CONTEXT_OVERFLOW


async def test_a_batch_that_can_not_be_made_is_a_failure_too_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = LikelihoodJudge(**LOCAL, max_attempts=1)
    await judge.score(CONVERSATION, ["Soil."])
    with monkeypatch.context() as broken:
        broken.setattr(LocalModel, "split", lambda *_: (_ for _ in ()).throw(RuntimeError("no batch")))
        (reward,) = await asyncio.wait_for(judge.score(CONVERSATION, ["Clay."]), 60)
    assert (reward.error, "no batch" in (reward.detail or "")) == (FailureKind.SERVER_ERROR, True)


async def test_a_model_that_fails_is_a_failure_of_that_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = LikelihoodJudge(**LOCAL, max_attempts=1)
    await judge.score(CONVERSATION, ["Soil."])
    with monkeypatch.context() as broken:
        broken.setattr(LocalModel, "answer", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        (reward,) = await judge.score(CONVERSATION, ["Rain."])
    assert (reward.error, "out of memory" in (reward.detail or "")) == (FailureKind.SERVER_ERROR, True)
    assert (await judge.score(CONVERSATION, ["Rain."]))[0].score is not None


def test_all_loops_of_a_process_share_one_model() -> None:
    async def tokens() -> int:
        reader = AnswerReader(JudgeClient(ClientConfig(FOLDER, judge_transport="local")), None, {})
        return len((await reader.tokens(await reader.ask(CONVERSATION, "Soil."), CONVERSATION, "Soil.")).tokens)

    before = module.local_model.cache_info().misses
    assert asyncio.run(tokens()) == asyncio.run(tokens()) > 0
    assert module.local_model.cache_info().misses <= before + 1


@pytest.mark.parametrize("name", ["flip", "pointwise", "pairwise", "listwise", "flip+likelihood"])
def test_judges_that_need_replies_refuse_a_model_in_this_process(name: str) -> None:
    with pytest.raises(UsageError, match="needs a server: --judge_transport local is for the likelihood judge alone"):
        judge_class(name)(**LOCAL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_base": "http://127.0.0.1:9/v1"}, "leave --api_base out"),
        ({"llm_judge_model": "hosted_vllm/judge"}, "give the model's folder as --llm_judge_model"),
        ({"cache_dir": "x"}, "leave --cache_dir out"),
        ({"llm_judge_model": ""}, "no judge model given"),
        ({"llm_judge_model": "no/such/folder"}, "--llm_judge_model no/such/folder is no folder"),
    ],
)
def test_wrong_use_is_refused_before_any_work(
    options: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=words):
        check_endpoints(ClientConfig(**{"llm_judge_model": FOLDER, "judge_transport": "local", **options}))


def test_a_folder_that_serves_is_taken_and_torch_comes_late() -> None:
    assert check_endpoints(ClientConfig(FOLDER, judge_transport="local")) == []
    code = (
        "import sys\nfrom open_instruct_flip.judges.likelihood import LikelihoodJudge\n"
        f"LikelihoodJudge({FOLDER!r}, judge_transport='local')\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_is_told_from_another_in_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)

    def identity(**options: Any) -> str:
        judge = LikelihoodJudge(str(folder), judge_transport="local", **options)
        (served,) = judge_identity(judge, check_endpoints(judge.client.config))["servers"]
        return str(served)

    first = identity()
    assert first.startswith(f"{folder} (float32, files ")
    assert identity(judge_dtype="bfloat16") != first
    (folder / "README.md").write_text("What is written about it does not count.")
    assert identity() == first
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert identity() != first
