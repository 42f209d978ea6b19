"""A uniform sample of distinct prompts in bounded memory, whatever the length of the stream."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass, field

from open_instruct_flip.data.prompts import ChatPrompt, conversation_key


@dataclass
class Pool:
    """The `size` prompts with the smallest hash of seed and conversation.

    The hash is a fair draw for each distinct conversation, so this is a uniform sample without replacement that does
    not depend on the order of the stream, and a repeated conversation meets its own hash: no list of those seen is
    needed. A hash that was once pushed out can't come back, because the bar only gets lower.

    `duplicates` counts repetitions of conversations in the pool, `not_sampled` all that the pool has no room for.
    """

    size: int
    seed: int
    duplicates: int = 0
    not_sampled: int = 0
    _heap: list[tuple[int, int]] = field(default_factory=list)
    _prompts: dict[int, ChatPrompt] = field(default_factory=dict)

    def add(self, prompt: ChatPrompt) -> None:
        rank = self._rank(prompt)
        if rank in self._prompts:
            self.duplicates += 1
            return
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (-rank, rank))
        else:
            self.not_sampled += 1
            _, out = heapq.heappushpop(self._heap, (-rank, rank))
            self._prompts.pop(out, None)
            if out == rank:
                return
        self._prompts[rank] = prompt

    def prompts(self) -> list[ChatPrompt]:
        """The sample in the order of the draw: its first n are a sample of n."""
        return [self._prompts[rank] for rank in sorted(self._prompts)]

    def _rank(self, prompt: ChatPrompt) -> int:
        key = self.seed.to_bytes(8, "big", signed=True)
        return int.from_bytes(hashlib.blake2b(conversation_key(prompt.messages), key=key, digest_size=12).digest())
