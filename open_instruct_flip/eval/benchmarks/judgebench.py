"""JudgeBench: pairs of responses to hard questions, of which one is correct (arXiv 2410.12784).

Judges that compare favour a position, so JudgeBench asks in both orders: the pairwise judge does by itself, and is
right here where more verdicts are for the correct response than against it, as in JudgeBench's own code. The listwise
judge sees each pair once, in a drawn order. One of its pairs is the same text twice: a tie. The files are those of a
copy of its repository (github.com/ScalerLab/JudgeBench); its own tables are of one file each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark, shared_names
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, text_of
from open_instruct_flip.eval.figures import Figure, Measure
from open_instruct_flip.eval.items import Item
from open_instruct_flip.rows.files import Row, read_file

LABELS = {"A>B": (True, False), "B>A": (False, True)}
SUBSETS = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""How a row's source begins -> its subset, as in JudgeBench's tables."""


class JudgeBench(Benchmark):
    """Read from a copy of the repository, or from one of its files; ids are the pairs' own."""

    name = "judgebench"

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        path = Path(data)
        files = [path] if path.is_file() else sorted((path / "data").glob("*.jsonl"))
        if not files:
            raise UsageError(
                f"{path / 'data'} has no .jsonl file; --data takes a copy of JudgeBench, or one of its files"
            )
        for file in files:
            yield from map(_item, read_file(file))

    def overall(self, subsets: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
        """The means over all pairs, as JudgeBench has them, and not over subsets."""

        def pooled(name: str) -> Measure:
            return Measure(
                np.concatenate([part.values for own in subsets.values() for part in own[name].parts], axis=1)
            )

        return {name: Figure((pooled(name),)) for name in shared_names(subsets)}


def _item(row: Row) -> Item:
    with faults_of(row):
        columns = row.columns
        source, label = text_of(columns, "source"), text_of(columns, "label")
        if label not in LABELS:
            raise ValueError(f"label is one of {', '.join(LABELS)}, got {label!r}")
        responses = text_of(columns, "response_A"), text_of(columns, "response_B")
        subset = next((name for start, name in SUBSETS.items() if source.startswith(start)), source)
        conversation = conversation_of(columns["question"])
        return Item(text_of(columns, "pair_id"), subset, conversation, responses, LABELS[label])
