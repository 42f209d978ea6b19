"""A file of JSON lines that one process writes at a time, each kept as soon as it is written."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

from open_instruct_flip.errors import FlipError
from open_instruct_flip.judging.lines import Output, encode
from open_instruct_flip.one_writer import open_alone


class LineFile:
    """What every such file does; a kind of file says in `_take_over` what becomes of the lines that are there.

    Attributes:
        elsewhere: The option or argument that names another file.
        path: The file; made on entry, with its folder.
    """

    elsewhere: ClassVar[str] = "OUT"
    path: Path
    _file: BinaryIO

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(open_alone(self.path, self.elsewhere))
            self._take_over(opened)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # of a full disk, which `_write` has told of
            self._opened.close()

    def _take_over(self, opened: contextlib.ExitStack) -> None:
        """Read what earlier runs have left; what is opened for that goes into `opened`."""
        raise NotImplementedError

    def _write(self, rows: Sequence[Output]) -> None:
        """Write rows at the end; after that a killed process can't lose them.

        Raises:
            FlipError: They can't be written, as on a full disk.
        """
        try:
            self._file.write(b"".join(map(encode, rows)))
            self._file.flush()
        except OSError as error:
            raise FlipError(f"{self.path} can't be written: {error.strerror}") from error
