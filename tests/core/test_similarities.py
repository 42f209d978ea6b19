"""The other measures of likeness: from their libraries, in [0, 1], 1 for equal texts, and a clear word when missing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_double import JudgeDouble

from open_instruct_flip.errors import MissingDependencyError, UsageError
from open_instruct_flip.judges import flip
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.rewards import FailureKind
from open_instruct_flip.similarity import measures
from open_instruct_flip.similarity.measures import SIMILARITIES, similarity

LIGHT = [name for name in SIMILARITIES if name != "embedding"]
TRUE = "what is soil degradation?"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f1", 0.5714),
        ("precision", 0.6667),
        ("recall", 0.5),
        ("rouge_l", 0.5714),
        ("chrf", 0.6525),
    ],
)
def test_known_figures(name: str, expected: float) -> None:
    assert similarity(name, "Define soil degradation", TRUE) == pytest.approx(expected, abs=1e-3)


def test_bleu_has_no_brevity_penalty() -> None:
    assert similarity("bleu", "what is soil", TRUE) == 1.0
    assert 0.0 < similarity("bleu", "what is soil of the moon", TRUE) < 1.0


@pytest.mark.parametrize("name", LIGHT)
@settings(deadline=None, max_examples=50)
@given(one=st.text(max_size=40), other=st.text(max_size=40))
def test_lies_between_0_and_1(name: str, one: str, other: str) -> None:
    assert 0.0 <= similarity(name, one, other) <= 1.0


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("text", [TRUE, "Write.", "Write 3 poems\nabout tea"])
def test_is_1_for_equal_texts(name: str, text: str) -> None:
    assert similarity(name, text, text) == pytest.approx(1.0)


@pytest.mark.parametrize("name", LIGHT)
def test_is_0_without_anything_in_common(name: str) -> None:
    assert similarity(name, "xyz", "Ada") == 0.0


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("bleu", "sacrebleu", "pip install sacrebleu"),
        ("rouge_l", "rouge_score", "pip install rouge-score"),
        ("embedding", "sentence_transformers", "pip install sentence-transformers"),
    ],
)
def test_a_missing_library_is_named_with_its_command(
    name: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == module else real(wanted))
    with pytest.raises(MissingDependencyError, match=command):
        similarity(name, "a", "b")


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(UsageError, match=r"f1, precision, .*got 'f2'"):
        similarity("f2", "a", "b")


@pytest.fixture(scope="module")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence-transformers folder with random weights, made on the spot."""
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="an optional dependency")
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "write", "poem", "about", "cats", "list", "facts", "soil"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    folder: Path = tmp_path_factory.mktemp("encoder")
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder / "bert")
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / "bert")
    encoder = sentence_transformers.SentenceTransformer(
        modules=[Transformer(str(folder / "bert")), Pooling(shape["hidden_size"])]
    )
    encoder.save(str(folder / "sentence"))
    return str(folder / "sentence")


async def test_a_likeness_that_is_no_number_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, judge_double: Callable[..., JudgeDouble]
) -> None:
    monkeypatch.setattr(measures, "_cosine", lambda *_: float("nan"))
    for module in (measures, flip):  # the library itself is not needed here
        monkeypatch.setattr(module, "check_available", lambda name: None)
    async with FlipJudge("hosted_vllm/judge", judge_double().api_base, similarity="embedding") as judge:
        (reward,) = await judge.score([{"role": "user", "content": "Explain soil."}], ["Soil is."])
    assert (reward.score, reward.error) == (None, FailureKind.SERVER_ERROR)
    assert "--similarity embedding is no number" in str(reward.detail)


def test_embedding_is_the_cosine_of_a_real_encoder(embedding_model: str) -> None:
    same = similarity("embedding", "write poem about cats", "write poem about cats", embedding_model)
    near = similarity("embedding", "write poem about soil", "write poem about cats", embedding_model)
    far = similarity("embedding", "list facts", "write poem about cats", embedding_model)
    assert same == pytest.approx(1.0)
    assert 0.0 <= far < near < same


@pytest.mark.parametrize(("model", "device"), [("none", "cpu"), (None, "no-such-device"), (None, "cuda:99")])
def test_an_embedding_model_that_cannot_be_loaded_is_a_usage_error(
    model: str | None, device: str, embedding_model: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"--embedding_model .*--embedding_device '{device}'"):
        similarity("embedding", "a", "b", str(tmp_path / model) if model else embedding_model, device)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every (model, device) that is loaded, by a stand-in for the library: all its texts are alike."""

    class Encoder:
        def __init__(self, model: str, device: str | None = None) -> None:
            time.sleep(0.05)
            loads.append((model, device))

        def encode(self, texts: list[str], **_: object) -> Any:
            return numpy.ones((len(texts), 1))

    loads: list[tuple[str, str]] = []
    library = types.ModuleType("sentence_transformers")
    library.__spec__ = importlib.machinery.ModuleSpec("sentence_transformers", None)
    library.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    measures._encoder.cache_clear()
    yield loads
    measures._encoder.cache_clear()


def test_the_embedding_model_runs_on_the_cpu_unless_a_device_is_named(loaded: list[tuple[str, str]]) -> None:
    similarity("embedding", "a", "b", "encoder")
    similarity("embedding", "a", "b", "encoder", embedding_device="cuda:1")
    assert loaded == [("encoder", "cpu"), ("encoder", "cuda:1")]


def test_the_embedding_model_is_loaded_once_for_all_threads(loaded: list[tuple[str, str]]) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: similarity("embedding", f"{n}", "b", "encoder"), range(32))) == [1.0] * 32
    assert loaded == [("encoder", "cpu")]
