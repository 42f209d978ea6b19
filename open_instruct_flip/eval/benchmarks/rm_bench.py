"""RM-Bench: three right and three wrong responses per instruction, each in three styles (arXiv 2410.16184).

Each right response is set against each wrong one: a matrix of three by three. The styles are concise, detailed, and
detailed with Markdown. Easy are the pairs whose right response has the fuller style, hard those whose wrong one has it.
The files are those of a copy of its repository (github.com/THU-KEG/RM-Bench).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, texts_of
from open_instruct_flip.eval.items import Item, preference
from open_instruct_flip.rows.files import Row, read_file

logger = logging.getLogger(__name__)

FILES = {
    "chat": ("chat",),
    "math": ("math",),
    "code": ("code",),
    "safety": ("safety-refuse", "safety-response"),
}
"""Subset -> its files below `data`, each called `<name>_filtered.json`; what a copy lacks is left out."""
STYLES = 3


class RMBench(Benchmark):
    """Read from a copy of the repository. Overall is the unweighted mean of the subsets, as in its own code."""

    name = "rm_bench"

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        folder = Path(data) / "data"
        files = [(subset, name, folder / f"{name}_filtered.json") for subset, names in FILES.items() for name in names]
        there = [(subset, name, path) for subset, name, path in files if path.is_file()]
        if not there:
            raise UsageError(f"{folder} has no file such as {files[0][2].name}; --data takes a copy of RM-Bench")
        missing = [path.name for _, _, path in files if not path.is_file()]
        if missing:
            logger.warning("%s lacks %s; figures are without them", folder, ", ".join(missing))
        for subset, name, path in there:
            for number, row in enumerate(read_file(path)):
                yield _item(subset, f"{name}/{number}", row)

    def credits(self, item: Item, scores: Sequence[float]) -> dict[str, float]:
        """Shares of the nine pairs won; in `official` a draw counts as lost too, as in RM-Bench's own code."""
        right, wrong = np.array(scores[:STYLES]), np.array(scores[STYLES:])
        won = (right[:, None] > wrong[None, :]).astype(float)
        return {
            "strict": float(won.mean()),
            "official": float(won.mean()),
            "easy": float(won[np.tril_indices(STYLES, -1)].mean()),
            "normal": float(won.diagonal().mean()),
            "hard": float(won[np.triu_indices(STYLES, 1)].mean()),
        }

    def credits_by_chance(self, item: Item) -> dict[str, float]:
        """Half of all pairs."""
        return dict.fromkeys(("strict", "official", "easy", "normal", "hard"), 0.5)


def _item(subset: str, item_id: str, row: Row) -> Item:
    with faults_of(row):
        sides = [texts_of(row.columns, name) for name in ("chosen", "rejected")]
        if any(len(side) != STYLES for side in sides):
            raise ValueError(f"chosen and rejected hold {STYLES} responses each, got {[len(side) for side in sides]}")
        return preference(item_id, subset, conversation_of(row.columns["prompt"]), *sides)
