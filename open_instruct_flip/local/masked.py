"""What a masked language model of the world starts from, and the pairs of responses that it learns to tell apart."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from open_instruct_flip.judges.esfp.slot import TEMPLATE_WITHOUT_EXPLANATION, Slot
from open_instruct_flip.local import world
from open_instruct_flip.local.examples import broken, habitual, mutated, training_specs
from open_instruct_flip.local.world import CONSTRAINTS, Spec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_LENGTH = 96
"""Tokens of an instruction, a response and the words around them; a token is a word."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY_TEXTS = 2_000


class Preference(NamedTuple):
    """Two responses to an instruction, of which the first keeps more of its constraints."""

    instruction: str
    chosen: str
    rejected: str


def preferences(specs: list[Spec], seed: int) -> Iterator[Preference]:
    """An endless stream of pairs of responses to these instructions, of different true rates."""
    rng = random.Random(f"preferences {seed}")
    while True:
        spec = rng.choice(specs)
        one, other = (_response(spec, rng) for _ in range(2))
        ahead = world.true_rate(spec, one) - world.true_rate(spec, other)
        if ahead:
            yield Preference(world.instruction(spec), *((one, other) if ahead > 0 else (other, one)))


def _response(spec: Spec, rng: random.Random) -> str:
    """A response as policies give them at some point of their training."""
    shown = mutated(spec, rng, rng.randint(0, len(CONSTRAINTS))) if rng.random() < 0.6 else habitual(spec, rng, 0.6)
    return broken(shown, rng) if rng.random() < 0.3 else world.respond(shown, rng)


def save_masked_model(folder: Path, seed: int) -> None:
    """Write an untrained masked language model, BERT of about half a million weights, with the world's words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    texts = itertools.islice(preferences(training_specs(), seed), VOCABULARY_TEXTS)
    slot = Slot(TEMPLATE_WITHOUT_EXPLANATION)
    tokenizer = _tokenizer([slot.template, *slot.positive, *slot.negative, *itertools.chain.from_iterable(texts)])
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.08,  # at the usual 0.02 a model this narrow is slow to begin
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Words and punctuation marks, as they stand in these texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=MAX_LENGTH,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
