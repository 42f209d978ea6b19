"""The pairs that the world's masked language model learns from, and the words that it knows."""

from itertools import islice

import pytest

from open_instruct_flip.judges.esfp.filling import Filler
from open_instruct_flip.judges.esfp.slot import TEMPLATE_WITHOUT_EXPLANATION, Slot
from open_instruct_flip.local import masked, world


def pairs(count, seed=0):
    return list(islice(masked.preferences(world.split()[1], seed), count))


def test_the_chosen_response_keeps_more_of_its_instruction():
    for pair in pairs(300):
        spec = world.parse(pair.instruction)
        assert world.true_rate(spec, pair.chosen) > world.true_rate(spec, pair.rejected)


def test_pairs_follow_their_seed():
    assert pairs(20) == pairs(20)
    assert pairs(20) != pairs(20, seed=1)


def test_every_word_of_held_out_pairs_is_known_and_has_room(tmp_path):
    transformers = pytest.importorskip("transformers")
    masked.save_masked_model(tmp_path, seed=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    filler = Filler(tokenizer, Slot(TEMPLATE_WITHOUT_EXPLANATION, max_length=masked.MAX_LENGTH))
    filled = [filler.fill(pair.instruction, text) for pair in pairs(300) for text in pair[1:]]
    assert not any(one.truncated for one in filled)
    assert not any(tokenizer.unk_token_id in one.ids for one in filled)
