"""The rows of the output, as JSON lines and as parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from open_instruct_flip.judging.lines import Output
from open_instruct_flip.rewards import Reward
from open_instruct_flip.rows.parquet import import_pyarrow, write_parquet
from open_instruct_flip.score.groups import ResponseGroup

TEXTS = ("inferred_instruction", "detail", "reply")


def output_rows(group: ResponseGroup, rewards: Iterable[Reward], *, keep_replies: bool) -> list[Output]:
    """A group's rows of the output, one per response."""
    outputs = []
    for index, reward in enumerate(rewards):
        output = {"id": group.id, "index": index, **reward.as_row()}
        outputs.append(output | {"reply": reward.reply} if keep_replies else output)
    return outputs


def write_as_parquet(path: Path, lines: Iterable[bytes], *, integer_ids: bool, keep_replies: bool) -> None:
    """Write encoded rows as parquet; ids become int64 where all are whole numbers, else text."""
    write_parquet(path, _storable(map(json.loads, lines), integer_ids), _schema(integer_ids, keep_replies))


def _storable(outputs: Iterable[Output], integer_ids: bool) -> Iterator[Output]:
    for output in outputs:
        texts = {name: _encodable(output.get(name)) for name in TEXTS}
        yield output | texts | {"id": output["id"] if integer_ids else _encodable(str(output["id"]))}


def _encodable(text: str | None) -> str | None:
    # A judge may write half a surrogate pair, which neither UTF-8 nor parquet can hold.
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


def _schema(integer_ids: bool, keep_replies: bool) -> Any:
    pyarrow = import_pyarrow()
    counts = [(name, pyarrow.int64()) for name in ("prompt_tokens", "completion_tokens", "requests")]
    columns = [
        ("id", pyarrow.int64() if integer_ids else pyarrow.string()),
        ("index", pyarrow.int64()),
        ("reward", pyarrow.float64()),
        ("inferred_instruction", pyarrow.string()),
        ("precision", pyarrow.float64()),
        ("recall", pyarrow.float64()),
        ("error", pyarrow.string()),
        ("detail", pyarrow.string()),
        ("truncated", pyarrow.bool_()),
        ("copy_rate", pyarrow.float64()),
        ("overlap", pyarrow.float64()),
        ("usage", pyarrow.struct(counts)),
        ("latency_s", pyarrow.float64()),
    ]
    return pyarrow.schema([*columns, ("reply", pyarrow.string())] if keep_replies else columns)
