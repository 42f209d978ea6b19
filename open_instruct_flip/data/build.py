"""Build an RLVR dataset from chat data and write it under both labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.decontaminate import Benchmarks
from open_instruct_flip.data.labels import FLIP_LABEL
from open_instruct_flip.data.manifest import Manifest, Source
from open_instruct_flip.data.prompts import KNOWN_COLUMNS
from open_instruct_flip.data.selection import select_prompts
from open_instruct_flip.data.write import Dataset, check_free, write_datasets
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.rows.files import Row, RowSource

WILDCHAT = "allenai/WildChat-1M"
WILDCHAT_COLUMNS = ("conversation", "language", "toxic", "redacted")


def open_source(
    name: str, inputs: Sequence[str] = (), split: str = "train", revision: str | None = None
) -> tuple[Source, Iterator[Row], int | None]:
    """The rows of local inputs, or else of a hub dataset, whose newest revision is looked up and recorded.

    Args:
        name: "wildchat", or the hub name of a dataset in any known shape; ignored when there are inputs.
        inputs: Files and folders.
        split: Split of a folder or hub dataset.
        revision: Commit, branch or tag of a hub dataset; its default branch when None.

    Returns:
        What the manifest says of the source, the rows, and how many there are where that is known.

    Raises:
        UsageError: An input is missing or of an unknown format, or the hub does not have the dataset.
    """
    if inputs:
        files = [RowSource.find(path, split) for path in inputs]
        counts = [source.num_rows() for source in files]
        rows = (row for source in files for row in source.rows(KNOWN_COLUMNS))
        return Source(", ".join(inputs), split), rows, None if None in counts else sum(filter(None, counts))
    name, columns = (WILDCHAT, WILDCHAT_COLUMNS) if name == "wildchat" else (name, None)
    found = RowSource.find(name, split, revision)
    return Source(name, split, found.commit), found.rows(columns), found.num_rows()


def with_source_defaults(config: BuildConfig, source: Source) -> BuildConfig:
    """The options with name and licence filled in; a source other than WildChat needs a name."""
    is_wildchat = source.name == WILDCHAT
    if not (config.name or is_wildchat):
        raise UsageError(f"--name is needed for {source.name}; the datasets will be called NAME_flip and NAME")
    known_license = "odc-by" if is_wildchat else "unknown"
    return replace(config, name=config.name or "wildchat", license=config.license or known_license)


def build(
    rows: Iterable[Row],
    source: Source,
    out: Path,
    config: BuildConfig,
    *,
    decontaminate: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[list[Path], Manifest]:
    """Build `out/NAME_flip` and `out/NAME`, equal but for the label; return their folders and the manifest.

    Nothing is left under `out` when the build fails or is interrupted.

    Raises:
        UsageError: A folder exists and `overwrite` is off, `decontaminate` can't be read, or the name is missing.
        FlipError: A bad row that is not to be skipped, or no prompt is left.
    """
    config = with_source_defaults(config, source)
    labels = {f"{config.name}_flip": FLIP_LABEL, config.name: config.baseline_label}
    check_free([out / name for name in labels], overwrite)
    benchmarks = Benchmarks.from_files(decontaminate, config.decontaminate_ngram) if decontaminate else None
    selection = select_prompts(rows, config, benchmarks)
    if not selection.prompts:
        raise FlipError(f"no prompt of {source.name} passes the filters: {selection.summary()}")
    manifest = Manifest.of(source, config, selection, decontaminate)
    datasets = [Dataset(name, label, selection.prompts, manifest) for name, label in labels.items()]
    return write_datasets(out, datasets, overwrite=overwrite), manifest


def shortfall(manifest: Manifest, config: BuildConfig) -> str:
    """One line that says why there are fewer prompts than asked for, or nothing."""
    missing = config.num_prompts - manifest.num_prompts
    if missing <= 0:
        return ""
    text = f"{manifest.num_prompts} prompts passed, {missing} fewer than asked for"
    if manifest.dropped["not_sampled"]:
        return f"{text}; --oversample above {config.oversample} draws more of them"
    return text
