"""Preference data of one's own: rows of `prompt`, `chosen`, `rejected`, as TRL and Open Instruct have them.

`chosen` and `rejected` are a text, a list of texts, or a conversation whose last turn is the response; then the turns
before it are the prompt where the row has no `prompt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, texts_of
from open_instruct_flip.eval.items import Item, preference
from open_instruct_flip.rows.files import Row, RowSource


class Pairs(Benchmark):
    """Read from a file, a folder or a hub dataset; subsets are those of a column `subset`, else the data's name."""

    name = "pairs"
    has_splits = True

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        subset = Path(data).name.split(".")[0] or self.name
        for number, row in enumerate(RowSource.find(data, split).rows()):
            yield _item(number, subset, row)


def _item(number: int, subset: str, row: Row) -> Item:
    with faults_of(row):
        columns = row.columns
        asked, chosen = _responses(columns, "chosen")
        _, rejected = _responses(columns, "rejected")
        conversation = conversation_of(columns["prompt"] if columns.get("prompt") is not None or not asked else asked)
        own = columns.get("subset")
        return preference(
            str(columns.get("id", number)), subset if own is None else str(own), conversation, chosen, rejected
        )


def _responses(columns: Mapping[str, Any], name: str) -> tuple[list[Message], list[str]]:
    """The turns before the response, where the column holds them, and the response or responses."""
    value = columns[name]
    if not (isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)):
        return [], texts_of(columns, name)
    *before, last = conversation_of(value)
    if last["role"] != "assistant":
        raise ValueError(f"the last turn of {name} is the {last['role']}'s, where the assistant's response should be")
    return before, [last["content"]]
