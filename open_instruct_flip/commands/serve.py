"""`flip serve`: servers of one's own."""

from __future__ import annotations

import signal
import sys

import click

from open_instruct_flip.commands.options import config_options
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer


@click.group()
def serve() -> None:
    """Servers: a judge model."""


@serve.command()
@click.argument("model")
@config_options(server=ServerConfig)
def judge(model: str, server: ServerConfig) -> None:
    """Start an OpenAI-compatible server for MODEL, a folder or a hub name, and keep it until Ctrl-C.

    For other machines: --host 0.0.0.0 --api_key_env JUDGE_KEY, where JUDGE_KEY is a variable that holds a key of your
    own choice; the clients need the same. A replica on each of 8 GPUs: --data_parallel 8.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with JudgeServer(model, server, say=lambda line: click.echo(line, err=True)) as running:
        click.echo("the judge is ready; use it with")
        for line in use_lines(running):
            click.echo(f"  {line}")
        raise running.wait()


def use_lines(server: JudgeServer) -> list[str]:
    """What to write so that a server is used: the options of this command line, the variables of the recipes."""
    key = server.config.api_key_env
    options = f"--llm_judge_model {server.llm_judge_model} --api_base {server.shared_api_base}"
    variables = f"JUDGE_MODEL={server.llm_judge_model} JUDGE_URLS={server.shared_api_base}"
    return [
        f"flip score IN OUT {options}" + (f" --api_key_env {key}" if key else ""),
        f"{variables} bash scripts/train/grpo_flip.sh" + (f" --flip_api_key_env {key}" if key else ""),
    ]
