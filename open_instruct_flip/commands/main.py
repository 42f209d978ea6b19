"""The `flip` command: finds the command's file, turns every expected error into one line and an exit code."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence

import click

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError, install_line

DISK_FULL = ("No space left on device", "database or disk is full")  # as system calls and SQLite say it
# The group's own help, which click before 8.2 prints by itself.
NO_ARGUMENTS: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())

# Name -> (file in this folder, its click command, one line for `flip --help`). Files are imported when called.
COMMANDS = {
    "score": ("score", "score", "Judge a file of responses."),
    "serve": ("serve", "serve", "Start a judge or a reward server."),
    "judge": ("judge", "judge", "Train a judge model of your own."),
    "local": ("local", "local", "Train against FLIP on this machine, without a GPU."),
    "train": ("train", "train", "Train with Open Instruct's grpo_fast."),
    "data": ("data", "data", "Build, validate and convert RLVR datasets."),
    "eval": ("eval", "evaluate", "See whether a judge picks the better response, and at what cost."),
    "esfp": ("esfp", "esfp", "Train a masked language model as a judge."),
    "compare": ("compare", "compare", "Compare the reward curves of several runs."),
    "doctor": ("doctor", "doctor", "See whether the machine, the judge and Open Instruct are ready."),
}

EXTRAS = {"eval": "eval", "local": "local", "judge": "judge-training", "esfp": "judge-training"}
"""Commands that import, once they run, what the core does not bring, and the extra of setup.py that has it."""


class LazyCommands(click.Group):
    """A group that imports a command only when it is called, so that `flip --help` is instant."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a library that is not there, or too old, becomes the line that installs its extra."""
        try:
            return super().invoke(ctx)
        except ImportError as error:
            command = ctx.invoked_subcommand or ""
            if (
                isinstance(error, FlipError)
                or command not in EXTRAS
                or (error.name or "").startswith("open_instruct_flip")
            ):
                raise
            raise MissingDependencyError(f"{error}: flip {command} needs {install_line(EXTRAS[command])}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"open_instruct_flip.commands.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = difflib.get_close_matches(args[0], COMMANDS, n=1)
            known = f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}; {known}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="open-instruct-flip", prog_name="flip")
def flip() -> None:
    """FLIP rewards: a judge infers the instruction behind a response, token F1 is the reward."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `flip`. Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only stops no work
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:  # what can't be written is not tried again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `flip` and return its exit code; errors a user can act on become one line on stderr."""
    try:
        code = flip.main(args=None if arguments is None else list(arguments), prog_name="flip", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        if isinstance(error, NO_ARGUMENTS):
            click.echo(error.format_message(), err=True)
            return 2
        return _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except (UsageError, MissingDependencyError) as error:
        return _fail(str(error), 2)
    except FlipError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:  # whoever read the output has seen enough
        return 1
    except Exception as error:  # a full disk reaches us in the exceptions of many libraries
        if any(map(_is_full_disk, _chain(error))):
            return _fail(f"the disk is full ({' '.join(str(error).split())}); free some space and try again", 1)
        if isinstance(error, OSError) and error.filename is not None:  # a path that can't be written or made
            return _fail(f"{error.filename}: {error.strerror}", 2)
        raise
    return code if isinstance(code, int) else 0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_full_disk(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
        words in str(error) for words in DISK_FULL
    )


def _fail(text: str, code: int) -> int:
    click.echo(f"flip: error: {' '.join(text.split())}", err=True)
    return code
