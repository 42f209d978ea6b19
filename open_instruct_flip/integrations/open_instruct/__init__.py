"""FLIP inside Open Instruct: verifiers, the reward function that judges whole groups, and the launcher."""

from __future__ import annotations


def register() -> None:
    """Make FLIP's judges known to the Open Instruct checkout on `sys.path`. Calling it again changes nothing.

    Raises:
        MissingDependencyError: Open Instruct, or something it needs, can't be imported.
    """
    from open_instruct_flip.integrations.open_instruct.registration import register as register_all

    register_all()
