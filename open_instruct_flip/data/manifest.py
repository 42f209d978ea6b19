"""The manifest of a built dataset: where it comes from, what was left out, and what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.selection import Selection

PACKAGES = ("open-instruct-flip", "datasets", "datasketch", "pyarrow")


@dataclass(frozen=True)
class Source:
    """Where the rows come from; `revision` is the commit of a hub dataset."""

    name: str
    split: str
    revision: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything needed to build the same bytes again, and the count of each filter.

    It has no date on purpose: equal inputs give equal files. `content_sha256` covers the conversations and not the
    label, so that the two variants of a dataset can be told to belong together.
    """

    source: Source
    config: dict[str, Any]
    decontaminated_against: tuple[str, ...]
    versions: dict[str, str]
    num_rows: int
    bad_rows: int
    bad_rows_named: tuple[str, ...]
    dropped: dict[str, int]
    num_prompts: int
    content_sha256: str

    @classmethod
    def of(cls, source: Source, config: BuildConfig, selection: Selection, decontaminate: Sequence[str]) -> Manifest:
        return cls(
            source=source,
            config=asdict(config),
            decontaminated_against=tuple(decontaminate),
            versions={package: _version(package) for package in PACKAGES},
            num_rows=selection.num_rows,
            bad_rows=selection.bad_rows.count,
            bad_rows_named=tuple(selection.bad_rows.named),
            dropped=selection.dropped,
            num_prompts=len(selection.prompts),
            content_sha256=content_hash(prompt.messages for prompt in selection.prompts),
        )

    def to_json(self, label: str) -> str:
        """The manifest's file for one variant."""
        return json.dumps({"label": label, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def content_hash(conversations: Iterable[Sequence[Message]]) -> str:
    """SHA-256 of the conversations in their order, one JSON line each."""
    digest = hashlib.sha256()
    for messages in conversations:
        turns = [[message["role"], message["content"]] for message in messages]
        digest.update(json.dumps(turns, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
