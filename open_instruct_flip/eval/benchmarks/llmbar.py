"""LLMBar: 419 pairs that people agreed on, of which one response follows the instruction and the other does not.

Source: Evaluating Large Language Models at Evaluating Instruction Following, arXiv 2310.07641; the files are those of
a copy of its repository (github.com/princeton-nlp/LLMBar, MIT).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, text_of
from open_instruct_flip.eval.items import Item, check_apart
from open_instruct_flip.rows.files import Row, read_file

FOLDERS = {
    "Natural": "Natural",
    "Neighbor": "Adversarial/Neighbor",
    "GPTInst": "Adversarial/GPTInst",
    "GPTOut": "Adversarial/GPTOut",
    "Manual": "Adversarial/Manual",
}
"""Subset -> its folder below `Dataset/LLMBar`."""


class LLMBar(Benchmark):
    """Read from a copy of the repository; ids are `<subset>/<number from 0>`."""

    name = "llmbar"

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        for subset, folder in FOLDERS.items():
            path = Path(data) / "Dataset" / "LLMBar" / folder / "dataset.json"
            if not path.is_file():
                raise UsageError(f"{path} is missing; --data takes a copy of the LLMBar repository")
            for number, row in enumerate(read_file(path)):
                yield _item(subset, number, row)


def _item(subset: str, number: int, row: Row) -> Item:
    with faults_of(row):
        conversation = conversation_of(row.columns["input"])
        outputs = [text_of(row.columns, "output_1"), text_of(row.columns, "output_2")]
        label = row.columns["label"]
        if label not in (1, 2):
            raise ValueError(f"label is 1 or 2, got {label!r}")
        check_apart(outputs[:1], outputs[1:])
        return Item(f"{subset}/{number}", subset, conversation, tuple(outputs), (label == 1, label == 2))
