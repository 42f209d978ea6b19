"""Errors that stop the work, as opposed to failures of one reward (`rewards.FailureKind`)."""

from __future__ import annotations


class FlipError(Exception):
    """What every error of this package derives from; its text is one line a user can act on."""


class UsageError(FlipError, ValueError):
    """A value that can't work: which one, where it came from, what to give instead. Exit code 2."""


class JudgeUnusableError(FlipError):
    """No request to this judge can succeed: no endpoint, unknown model, or a wrong key."""


class JudgeRefusedError(JudgeUnusableError):
    """A server refused the key, the model or the URL (401, 403, 404), as one also does while its judge restarts."""


class MissingDependencyError(FlipError, ImportError):
    """A part of the package needs something that is not installed; the text holds the command that installs it."""


def install_line(extra: str) -> str:
    """The command that installs one of setup.py's extras; pip finds them in the installed package, on no index."""
    return f"pip install 'open-instruct-flip[{extra}]'"
