"""Judges by name, ours and another package's, and judges as they travel into workers."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_model import CONVERSATION, ENDPOINT, ScriptedModel

from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.esfp.slot import Slot, write_slot
from open_instruct_flip.judges.registry import judge_class, judge_names
from open_instruct_flip.rewards import FailureKind, Reward

OURS = ["esfp", "flip", "likelihood", "listwise", "pairwise", "pointwise"]


def test_our_judges_are_found_by_name() -> None:
    assert judge_names() == OURS
    assert [judge_class(name).name for name in OURS] == OURS


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no judge is called 'flop'; there are esfp, flip, likelihood"):
        judge_class("flop")


@pytest.mark.parametrize("name", OURS)
async def test_every_judge_pickles_before_and_after_use(name: str, model: ScriptedModel, tmp_path: Path) -> None:
    own = {}
    if name == "esfp":
        write_slot(tmp_path, Slot(), {})
        own = {"esfp_model": str(tmp_path)}
    judge = judge_class(name)(**ENDPOINT, max_response_chars=999, seed=3, **own)
    model.answer = lambda request: "{}"
    again = pickle.loads(pickle.dumps(judge))
    if name != "likelihood":
        await again.score(CONVERSATION, ["one", "two"])
    again = pickle.loads(pickle.dumps(again))
    assert type(again) is type(judge)
    assert (again.config, again.client.config) == (judge.config, judge.client.config)


def test_another_package_adds_a_judge_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coin_judge.py").write_text(
        "from open_instruct_flip.judges.base import Judge\n"
        "from open_instruct_flip.rewards import Reward\n"
        "class CoinJudge(Judge):\n"
        "    name = 'coin'\n"
        "    async def score_group(self, conversation, responses):\n"
        "        return [Reward(score=0.5) for _ in responses]\n"
    )
    info = tmp_path / "coin_judge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coin-judge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[open_instruct_flip.judges]\ncoin = coin_judge:CoinJudge\nflip = coin_judge:CoinJudge\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert judge_names() == ["coin", *OURS]
    assert judge_class("coin")(**ENDPOINT).score_sync(CONVERSATION, ["Soil."])[0].score == 0.5
    assert judge_class("flip").__module__ == "open_instruct_flip.judges.flip"  # ours can't be replaced


class BareJudge(Judge):
    """Asks its client, and catches nothing."""

    name = "bare"

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        await self.client.complete(ChatRequest([*conversation], max_tokens=1))
        return [Reward(score=1.0) for _ in responses]


async def test_a_failed_request_that_a_judge_lets_through_fails_its_group(model: ScriptedModel) -> None:
    def fail(request: ChatRequest) -> str:
        error = RequestFailed(FailureKind.TIMEOUT, "it took too long")
        error.requests = 3
        raise pickle.loads(pickle.dumps(error))  # as from a process of its own

    model.answer = fail
    rewards = await BareJudge(**ENDPOINT).score(CONVERSATION, ["Soil.", " ", "Rain."])
    assert [(reward.score, reward.error) for reward in rewards] == [
        (None, FailureKind.TIMEOUT),
        (0.0, None),  # says nothing, and is asked about by nobody
        (None, FailureKind.TIMEOUT),
    ]
    assert [reward.usage.requests for reward in rewards] == [3, 0, 0]
    assert rewards[0].detail == "it took too long"


def test_the_public_names_need_no_heavy_import() -> None:
    code = (
        "from open_instruct_flip import FlipJudge, PointwiseJudge, Reward, f1_score\n"
        "import sys\n"
        "FlipJudge(model='hosted_vllm/m', api_base='http://127.0.0.1:9/v1')\n"
        "heavy = {'torch', 'transformers', 'litellm', 'sacrebleu', 'rouge_score', 'sentence_transformers'}\n"
        "print(*(heavy & sys.modules.keys()))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


async def test_the_documented_judge_of_ones_own_works(model: ScriptedModel) -> None:
    docs = Path(__file__).parents[2] / "docs" / "judges.md"
    example = docs.read_text("utf-8").split("## A judge of your own")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(example, names)
    replies = iter(["Yes.", "no", "Perhaps.", "Perhaps."])
    model.answer = lambda request: next(replies)
    rewards = await names["PoliteJudge"](**ENDPOINT).score(CONVERSATION, ["Please.", "Go.", "Hm."])
    assert [reward.score for reward in rewards] == [1.0, 0.0, None]
    assert "<text>\nHm.\n</text>" in model.shown()
