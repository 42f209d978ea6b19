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
        train(sys.argv[1:] if arguments is None else list(arguments))
    except (UsageError, MissingDependencyError) as error:
        return _fail(error, 2)
    except FlipError as error:
        return _fail(error, 1)
    return 0


def train(arguments: Sequence[str]) -> None:
    """Run Open Instruct's `grpo_fast` with FLIP registered.

    Args:
        arguments: Flags of Open Instruct and of this package.

    Raises:
        MissingDependencyError: Open Instruct or a GPU is missing.
        UsageError: A flag or the dataset can't work, or a judge does not answer.
        FlipError: Training stopped because the judge failed.
    """
    from open_instruct_flip.integrations.open_instruct import checkout

    wants_help = not HELP_FLAGS.isdisjoint(arguments)
    checkout.put_on_path(os.environ.get("OPEN_INSTRUCT_DIR"))
    checkout.check_machine(needs_gpu=not wants_help)

    from open_instruct_flip.integrations.open_instruct import register

    register()
    if not wants_help:
        from open_instruct_flip.integrations.open_instruct.preflight import check_run

        check_run(arguments)
    _run_trainer(arguments)


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
    print(f"flip train: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code
