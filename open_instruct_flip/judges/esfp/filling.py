"""A template filled with a rollout, as token ids: all parts stay, the longest lose their middles first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.esfp.slot import MIN_LENGTH, Slot

PARTS = ("instruction", "response", "explanation")
UNLIMITED = 1 << 20
"""Tokenizers without a limit of their own name a huge number."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A filled template.

    Attributes:
        ids: Its token ids, special ones included.
        slot: Position of the mask among them.
        truncated: Whether a part lost its middle.
    """

    ids: list[int]
    slot: int
    truncated: bool


class Filler:
    """Fills a slot's template for one tokenizer.

    Args:
        tokenizer: Of a masked language model.
        slot: The template and its words.
        max_positions: Tokens that the model reads at most.

    Attributes:
        positive: Token ids of the positive words.
        negative: Token ids of the negative ones.

    Raises:
        UsageError: The tokenizer has no mask token, a word is not one token, or the template alone fills the model.
    """

    def __init__(self, tokenizer: Any, slot: Slot, max_positions: int = UNLIMITED) -> None:
        if tokenizer.mask_token_id is None:
            raise UsageError(
                f"{tokenizer.name_or_path} has no mask token; an esfp model is a masked language model such as BERT, "
                "RoBERTa, DeBERTa-v3 or ModernBERT"
            )
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self.positive = [self._word(word) for word in slot.positive]
        self.negative = [self._word(word) for word in slot.negative]
        before, after = self._frame()
        self._pieces = [
            piece if number % 2 else self._ids(piece) if piece else [] for number, piece in enumerate(slot.pieces())
        ]
        self._pieces = [before, *self._pieces, after]
        literal = sum(len(piece) for piece in self._pieces if not isinstance(piece, str)) + 1
        self._room = min(slot.max_length, max_positions, tokenizer.model_max_length) - literal
        if self._room < MIN_LENGTH // 2:
            raise UsageError(
                f"the template alone has {literal} of the {self._room + literal} tokens that {tokenizer.name_or_path} "
                "reads; shorten it, or give a greater --max_length"
            )

    def fill(self, instruction: str, response: str, explanation: str = "") -> Filled:
        """The template with these parts in it. No text of theirs becomes a mask or another special token."""
        texts = dict(zip(PARTS, (instruction, response, explanation), strict=True))
        whole = {name: self._ids(texts[name]) for name in PARTS if name in self._pieces}
        kept = _shares([len(ids) for ids in whole.values()], self._room)
        parts: dict[str, Sequence[int]] = {
            name: _shortened(ids, length) for (name, ids), length in zip(whole.items(), kept, strict=True)
        }
        return self._joined(parts, truncated=any(len(parts[name]) < len(ids) for name, ids in whole.items()))

    def _joined(self, parts: Mapping[str, Sequence[int]], *, truncated: bool) -> Filled:
        ids: list[int] = []
        slot = 0
        for piece in self._pieces:
            if piece == "mask":
                slot = len(ids)
                ids.append(self._tokenizer.mask_token_id)
            else:
                ids.extend(parts[piece] if isinstance(piece, str) else piece)
        return Filled(ids, slot, truncated)

    def _ids(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return [token for token in ids if token not in self._special]

    def _word(self, word: str) -> int:
        ids = self._ids(f" {word.strip()}")
        if len(ids) != 1 or ids[0] == self._tokenizer.unk_token_id:
            raise UsageError(
                f"the word {word!r} is {len(ids)} tokens of {self._tokenizer.name_or_path}, or none that it knows; "
                "each word of the slot has to be exactly one"
            )
        return int(ids[0])

    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
        mask = self._tokenizer.mask_token_id
        ids = self._tokenizer(self._tokenizer.mask_token)["input_ids"]
        at = ids.index(mask)
        return ids[:at], ids[at + 1 :]


def told(conversation: Sequence[Message]) -> str:
    """A conversation as the template's instruction: the last turn alone, or all of them with their roles."""
    if len(conversation) == 1:
        return conversation[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in conversation)


def _shares(lengths: Sequence[int], room: int) -> list[int]:
    """How much of each part stays: what the shorter ones leave goes to the longer ones.

    Example:
        >>> _shares([10, 200, 90], 160)
        [10, 75, 75]
    """
    kept = [0] * len(lengths)
    left = room
    for done, number in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        kept[number] = min(lengths[number], left // (len(lengths) - done))
        left -= kept[number]
    return kept


def _shortened(ids: Sequence[int], length: int) -> Sequence[int]:
    if len(ids) <= length:
        return ids
    end = length // 2
    return [*ids[: length - end], *ids[len(ids) - end :]]
