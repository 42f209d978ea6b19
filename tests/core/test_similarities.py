"""The other measures of likeness: from their libraries, in [0, 1], 1 for equal texts, and a clear word when missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_instruct_flip import similarities
from open_instruct_flip.errors import MissingDependencyError, UsageError
from open_instruct_flip.similarity.measures import similarity

LIGHT = [name for name in similarities.SIMILARITIES if name != "embedding"]
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


def test_embedding_is_the_cosine_of_a_real_encoder(embedding_model: str) -> None:
    same = similarity("embedding", "write poem about cats", "write poem about cats", embedding_model)
    near = similarity("embedding", "write poem about soil", "write poem about cats", embedding_model)
    far = similarity("embedding", "list facts", "write poem about cats", embedding_model)
    assert same == pytest.approx(1.0)
    assert 0.0 <= far < near < same


def test_an_embedding_model_that_cannot_be_loaded_is_a_usage_error(embedding_model: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--embedding_model"):
        similarity("embedding", "a", "b", str(tmp_path / "none"))
