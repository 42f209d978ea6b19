"""Files and folders that one process writes at a time. The lock ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from open_instruct_flip.errors import UsageError


def open_alone(path: Path, elsewhere: str) -> BinaryIO:
    """A file to append to and to read, which no other process has open this way.

    Raises:
        UsageError: Another process has; `elsewhere` is the option or argument that names another file.
    """
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UsageError(f"another process is writing {path}; wait for it, or choose another {elsewhere}") from error
    return file


@contextmanager
def folder_alone(folder: Path) -> Iterator[None]:
    """Make a run's folder, and keep other runs out of it until the block ends.

    Raises:
        UsageError: It is no folder, or another run is writing it.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"another run is writing {folder}: give another --out, or stop that run") from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(descriptor)


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove these files and folders of a folder, those that are there, and nothing else."""
    for name in names:
        part = folder / name
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def write_at_once(path: Path, text: str) -> None:
    """Put a text into a file such that a killed process leaves the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, "utf-8")
    new.replace(path)
