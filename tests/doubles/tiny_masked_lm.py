"""A masked language model of a few thousand random weights, with a WordPiece vocabulary made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_instruct_flip.judges.esfp.slot import TEMPLATE_WITHOUT_EXPLANATION, Slot, write_slot

WORDS = [
    *("instruction", ":", "response", "review", "overall", ",", "the", "is", ".", "good", "bad", "fine", "awful"),
    *("name", "a", "colour", "red", "blue", "sky", "rain", "soil", "write", "short", "poem", "please", "warm", "cold"),
    *("it", "was", "nothing", "misses", "every", "point", "un", "##kind", "user", "system", "?", "!"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SLOT = Slot(TEMPLATE_WITHOUT_EXPLANATION, max_length=64)


def tokenizer(mask: bool = True) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names, **({"mask_token": "[MASK]"} if mask else {}))


def save_tiny_masked_lm(folder: Path, slot: Slot | None = SLOT, *, mask: bool = True) -> Path:
    """Write a random BERT of two layers into a folder, with the description of a slot unless that is None."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    words = tokenizer(mask)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    if slot is not None:
        write_slot(folder, slot, {})
    return folder
