"""`flip train`: the launcher of Open Instruct's trainer."""

from __future__ import annotations

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> int:
    """Train with Open Instruct's grpo_fast; every flag of it, and every --flip_* flag, can be given."""
    from open_instruct_flip.integrations.open_instruct.launcher import main

    return main(arguments)
