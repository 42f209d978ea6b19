"""`flip judge`: serve a judge model."""

from __future__ import annotations

import click

from open_instruct_flip.client.server import JudgeServer, ServerConfig
from open_instruct_flip.commands.options import config_options


@click.group()
def judge() -> None:
    """Judge servers."""


@judge.command()
@click.argument("model")
@config_options(server=ServerConfig)
def serve(model: str, server: ServerConfig) -> None:
    """Start an OpenAI-compatible server for MODEL, a folder or a hub name, and keep it until Ctrl-C."""
    running = JudgeServer(model, server)
    click.echo(f"starting {model} with {running.backend} (log: {running.log_path})", err=True)
    with running:
        click.echo("the judge is ready; use it with")
        click.echo(f"  --llm_judge_model {running.llm_judge_model} --api_base {running.api_base}")
        running.wait()
        raise click.ClickException(f"the judge server ended by itself (log: {running.log_path})")
