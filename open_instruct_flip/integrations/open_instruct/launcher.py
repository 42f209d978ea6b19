"""The launcher: checks what can be checked early, then runs Open Instruct's trainer with FLIP in it."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError

TRAINER = "open_instruct.grpo_fast"
HELP_FLAGS = frozenset({"-h", "--help"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and return an exit code: 0 done, 1 training stopped for a reason that is printed, 2 wrong use."""
    try:
        check_and_train(sys.argv[1:] if arguments is None else list(arguments))
    except (UsageError, MissingDependencyError) as error:
        return _fail(error, 2)
    except FlipError as error:
        return _fail(error, 1)
    return 0


def check_and_train(arguments: Sequence[str]) -> None:
    """Run Open Instruct's `grpo_fast` with FLIP registered.

    Args:
        arguments: Flags of Open Instruct and of this package.

    Raises:
        MissingDependencyError: Open Instruct or a GPU is missing.
        UsageError: A flag or the dataset can't work, or a judge does not answer.
        FlipError: Training stopped because the judge failed.
    """
    if not HELP_FLAGS.isdisjoint(arguments):
        show_help()
        return
    _prepare(needs_gpu=True)
    from open_instruct_flip.integrations.open_instruct.preflight import check_run

    _run_trainer([*arguments, *check_run(arguments)])


def show_help() -> None:
    """Print this package's flags, then Open Instruct's help, or in one line why it has none here."""
    from open_instruct_flip.integrations.open_instruct.options import flags_help

    print(flags_help(), flush=True)
    try:
        _prepare(needs_gpu=False)
        _run_trainer(["--help"])
    except (FlipError, ImportError) as error:
        print(f"Open Instruct's own flags are not shown: {' '.join(str(error).split())}")


def _prepare(*, needs_gpu: bool) -> None:
    from open_instruct_flip.integrations.open_instruct import checkout, register

    checkout.put_on_path(os.environ.get("OPEN_INSTRUCT_DIR"))
    checkout.check_machine(needs_gpu=needs_gpu)
    register()


def _run_trainer(arguments: Sequence[str]) -> None:
    sys.argv = [TRAINER, *arguments]
    try:
        runpy.run_module(TRAINER, run_name="__main__", alter_sys=True)
    except Exception as error:  # Ray wraps what its workers raise in classes of its own
        reason = _judge_failure(error)
        if reason is None:
            raise
        raise FlipError(reason) from error


def _judge_failure(error: BaseException | None) -> str | None:
    """The text of the FlipError that made Ray tasks fail, or None when it was something else.

    Ray wraps an actor's exception once for each actor that it passes through; the innermost one has the plain text.
    """
    reason = None
    while error is not None:
        if isinstance(error, FlipError):
            reason = str(error)
        error = getattr(error, "cause", None) or error.__cause__
    return reason


def _fail(error: FlipError, code: int) -> int:
    print(f"flip train: error: {_in_our_flags(' '.join(str(error).split()))}", file=sys.stderr, flush=True)
    return code


def _in_our_flags(text: str) -> str:
    try:
        from open_instruct_flip.integrations.open_instruct.options import in_our_flags
    except ImportError:  # what the flags are made of may be what is missing
        return text
    return in_our_flags(text)
