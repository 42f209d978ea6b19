"""Datasets on disk: parquet, manifest and card in a folder that appears as a whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_instruct_flip.data.card import dataset_card
from open_instruct_flip.data.manifest import Manifest
from open_instruct_flip.data.prompts import ChatPrompt
from open_instruct_flip.errors import UsageError
from open_instruct_flip.rows.parquet import import_pyarrow, write_parquet

DATA_FILE = "data/train-00000-of-00001.parquet"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"


@dataclass(frozen=True)
class Dataset:
    """One variant of a build: the folder it goes to, its label and its prompts."""

    name: str
    label: str
    prompts: tuple[ChatPrompt, ...]
    manifest: Manifest


def rlvr_row(prompt: ChatPrompt, label: str) -> dict[str, Any]:
    """A row in Open Instruct's RLVR schema; the ground truth is the exact instruction."""
    return {"messages": list(prompt.messages), "ground_truth": prompt.instruction, "dataset": label}


def check_free(folders: Iterable[Path], overwrite: bool) -> None:
    """UsageError if a folder exists that is not to be overwritten."""
    for folder in folders:
        if folder.exists() and not overwrite:
            raise UsageError(f"{folder} exists; --overwrite replaces it")


def write_datasets(out: Path, datasets: Sequence[Dataset], *, overwrite: bool = False) -> list[Path]:
    """Write every dataset beside its place, then rename them all; return their folders.

    Raises:
        UsageError: A folder exists and `overwrite` is off.
    """
    folders = [out / dataset.name for dataset in datasets]
    check_free(folders, overwrite)
    with temporary_folder(out) as beside:
        for dataset in datasets:
            _write_dataset(beside / dataset.name, dataset)
        for folder in folders:
            if folder.exists():
                folder.rename(beside / f"{folder.name}.old")
            (beside / folder.name).rename(folder)
    return folders


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is gone afterwards, and `parent` with it where it was made for this alone."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: the work was done
                folder.rmdir()


def _write_dataset(folder: Path, dataset: Dataset) -> None:
    data_file = folder / DATA_FILE
    data_file.parent.mkdir(parents=True)
    write_parquet(data_file, (rlvr_row(prompt, dataset.label) for prompt in dataset.prompts), rlvr_schema())
    (folder / MANIFEST_FILE).write_text(dataset.manifest.to_json(dataset.label), "utf-8")
    (folder / CARD_FILE).write_text(dataset_card(dataset.name, dataset.label, dataset.manifest), "utf-8")


def rlvr_schema() -> Any:
    """The parquet schema of `rlvr_row`."""
    pyarrow = import_pyarrow()
    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    columns = [("messages", pyarrow.list_(turn)), ("ground_truth", pyarrow.string()), ("dataset", pyarrow.string())]
    return pyarrow.schema(columns)
