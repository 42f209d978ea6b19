"""`flip serve`: servers of one's own."""

from __future__ import annotations

import click

from open_instruct_flip.commands.options import config_options
from open_instruct_flip.serve.judge_server import JudgeServer, ServerConfig


@click.group()
def serve() -> None:
    """Servers: a judge model."""


@serve.command()
@click.argument("model")
@config_options(server=ServerConfig)
def judge(model: str, server: ServerConfig) -> None:
    """Start an OpenAI-compatible server for MODEL, a folder or a hub name, and keep it until Ctrl-C."""
    running = JudgeServer(model, server)
    click.echo(f"starting {model} with {running.backend} (log: {running.log_path})", err=True)
    with running:
        click.echo("the judge is ready; use it with")
        click.echo(f"  --llm_judge_model {running.llm_judge_model} --api_base {running.api_base}")
        running.wait()
        raise click.ClickException(f"the judge server ended by itself (log: {running.log_path})")
