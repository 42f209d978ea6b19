"""The order in which examples are trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class ByLength(Sampler[int]):
    """Examples at random, those of like length together, in an order that depends on seed and epoch alone.

    Transformers' own sampler draws from the process's random numbers. A run that goes on from a checkpoint has drawn
    others by then, and would skip the wrong examples and see the wrong ones twice.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples of a step.
        seed: The run's.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer calls this before each pass."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        seed = random.Random(f"order {self._seed} {self._epoch}").getrandbits(63)
        generator = torch.Generator().manual_seed(seed)
        order: list[int] = get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        return iter(order)

    def __len__(self) -> int:
        return len(self._lengths)
