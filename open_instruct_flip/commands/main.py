"""The `flip` command: finds the command's file, turns every expected error into one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError

# Name -> (file in this folder, its click command, one line for `flip --help`). Files are imported when called.
COMMANDS = {
    "score": ("score", "score", "Judge a file of responses."),
    "serve": ("serve", "serve", "Start a judge server."),
    "local": ("local", "local", "Train against FLIP on this machine, without a GPU."),
    "train": ("train", "train", "Train with Open Instruct's grpo_fast."),
    "data": ("data", "data", "Build, validate and convert RLVR datasets."),
    "compare": ("compare", "compare", "Compare the reward curves of several runs."),
    "doctor": ("doctor", "doctor", "See whether the machine, the judge and Open Instruct are ready."),
}


class LazyCommands(click.Group):
    """A group that imports a command only when it is called, so that `flip --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"open_instruct_flip.commands.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="open-instruct-flip", prog_name="flip")
def flip() -> None:
    """FLIP rewards: a judge infers the instruction behind a response, token F1 is the reward."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `flip`. Exit codes: 0 done, 1 the work failed, 2 wrong use, 130 interrupted."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `flip` and return its exit code; errors a user can act on become one line on stderr."""
    try:
        code = flip.main(args=None if arguments is None else list(arguments), prog_name="flip", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except (UsageError, MissingDependencyError) as error:
        return _fail(str(error), 2)
    except FlipError as error:
        return _fail(str(error), 1)
    except OSError as error:  # a path that can't be written or made, a full disk
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 2)
    return code if isinstance(code, int) else 0


def _fail(text: str, code: int) -> int:
    click.echo(f"flip: error: {' '.join(text.split())}", err=True)
    return code
