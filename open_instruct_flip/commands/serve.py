"""`flip serve`: servers of one's own."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Mapping
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.options import config_options, with_judge_options
from open_instruct_flip.errors import MissingDependencyError, install_line
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer
from open_instruct_flip.serve.reward.config import RewardServerConfig, ServerFailureConfig


@click.group()
def serve() -> None:
    """Servers: a judge model, and the rewards that a judge gives."""


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


@serve.command()
@config_options(server=RewardServerConfig, failures=ServerFailureConfig, client=ClientConfig)
@with_judge_options
def reward(
    server: RewardServerConfig, failures: ServerFailureConfig, client: ClientConfig, judge_options: Mapping[str, Any]
) -> None:
    """Start a server that gives rewards to trainers, and keep it until Ctrl-C.

    POST /v1/rewards takes groups of responses and gives what `flip score` writes; POST /get_reward speaks OpenRLHF's
    form. /docs describes both, /metrics is for Prometheus.
    """
    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)]
    if missing:
        raise MissingDependencyError(f"{', '.join(missing)} not installed: {install_line('reward-server')}")
    from open_instruct_flip.client.probe import check_endpoints
    from open_instruct_flip.serve.reward.app import ServerSettings
    from open_instruct_flip.serve.reward.run import run_server

    settings = ServerSettings(server, client, judge_options, failures)
    check_endpoints(settings.judge().client.config)
    run_server(settings)
