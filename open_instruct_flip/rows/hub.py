"""Folders and hub datasets, by the `datasets` library."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError, install_line


def hub_revision(name: str, revision: str | None = None) -> str | None:
    """The commit a hub dataset is at; offline, the revision as it was given.

    Raises:
        UsageError: The hub has no such dataset or can't be reached.
    """
    if import_datasets().config.HF_HUB_OFFLINE:
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except Exception as error:  # the hub's client raises errors of several libraries without a common base
        raise UsageError(f"{name} is no file or folder, and the hub says: {_one_line(error)}") from error


def read_hub(name: str, split: str, columns: Sequence[str] | None, commit: str | None) -> Iterator[dict[str, Any]]:
    """Stream a hub dataset's rows.

    Raises:
        UsageError: The hub has no such split or columns.
        FlipError: It stops in the middle.
    """
    datasets = import_datasets()
    options: dict[str, Any] = {"columns": list(columns)} if columns else {}
    # Offline, a dataset can only come from the library's cache, which it does not stream from.
    streaming = not datasets.config.HF_HUB_OFFLINE
    try:
        rows = datasets.load_dataset(name, split=split, revision=commit, streaming=streaming, **options)
    except Exception as error:  # as in hub_revision
        raise UsageError(f"{name} is no file or folder, and the datasets library says: {_one_line(error)}") from error
    return _until_it_stops(name, rows)


def num_hub_rows(name: str, split: str, commit: str | None) -> int | None:
    """How many rows a hub dataset's split has, or None where the hub does not say."""
    try:
        splits = import_datasets().load_dataset_builder(name, revision=commit).info.splits or {}
        return int(splits[split].num_examples) if split in splits else None
    except Exception:  # a number for a progress bar: what is wrong with the data, reading it says with the place
        return None


def hub_splits(name: str, commit: str | None) -> list[str]:
    """The splits of a hub dataset.

    Raises:
        UsageError: The hub does not say.
    """
    try:
        return [str(split) for split in import_datasets().get_dataset_split_names(name, revision=commit)]
    except Exception as error:  # as in hub_revision
        raise UsageError(f"the hub does not say which splits {name} has: {_one_line(error)}") from error


def folder_splits(folder: Path) -> dict[str, list[Path]]:
    """The splits of a folder, each with the files that `datasets.load_dataset` reads for it, in its order."""
    datasets = import_datasets()
    try:
        data_files = datasets.load_dataset_builder(str(folder)).config.data_files
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(f"the datasets library can't load the folder {folder}: {_one_line(error)}") from error
    return {str(split): [Path(file) for file in files] for split, files in (data_files or {}).items()}


def import_datasets() -> Any:
    """The `datasets` library, or MissingDependencyError."""
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"folders and hub datasets need the datasets library: {install_line('data')}"
        ) from error
    # A README.md without a YAML header is no fault of a folder with data in it.
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)
    return datasets


def _until_it_stops(name: str, rows: Any) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, columns in enumerate(rows, start=1):  # noqa: B007  # named in the message
            yield columns
    except Exception as error:  # as in hub_revision
        raise FlipError(f"reading {name} stopped after row {number}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.300}"
