"""Which items of a benchmark are judged, and what tells one selection from another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from open_instruct_flip.conversation import check_conversation
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.config import EvalConfig, Half
from open_instruct_flip.eval.items import Item


def select(items: Iterable[Item], data: str, subsets: Sequence[str], config: EvalConfig) -> list[Item]:
    """The items to be judged, in their order.

    Args:
        items: All items of the benchmark.
        data: Where they come from, as errors name it.
        subsets: Names of subsets; empty takes all.
        config: Half and limit, which count within a subset.

    Raises:
        UsageError: There is no such subset, no item, or an item whose id is not its own or that can't be judged.
    """
    everything = list(items)
    known = list(dict.fromkeys(item.subset for item in everything))
    for subset in subsets:
        if subset not in known:
            shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            raise UsageError(f"--subset {subset!r} is none of those in {data}: {shown}")
    chosen = _taken([item for item in everything if not subsets or item.subset in subsets], config)
    if not chosen:
        raise UsageError(f"{data} holds no item to judge" + (f" of --half {config.half}" if config.half else ""))
    _check(chosen, data)
    return chosen


def digest(items: Iterable[Item]) -> str:
    """A digest of all that is judged."""
    total = hashlib.blake2b(digest_size=8)
    for item in items:
        total.update(repr((item.id, item.subset, item.conversation, item.responses, item.right)).encode())
    return total.hexdigest()


def _taken(items: Sequence[Item], config: EvalConfig) -> list[Item]:
    numbers: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    chosen = []
    for item in items:
        number = numbers[item.subset]
        numbers[item.subset] += 1
        if _is_in(number, config.half) and (config.limit is None or counts[item.subset] < config.limit):
            counts[item.subset] += 1
            chosen.append(item)
    return chosen


def _is_in(number: int, half: Half | None) -> bool:
    return half is None or (number % 2 == 0) == (half == "even")


def _check(items: Sequence[Item], data: str) -> None:
    ids: set[str] = set()
    for item in items:
        if item.id in ids:
            raise UsageError(f"two items of {data} have the id {item.id!r}; give each one of its own")
        ids.add(item.id)
        try:
            check_conversation(item.conversation)
        except UsageError as error:
            raise UsageError(f"{data}, item {item.id}: {error}") from None
