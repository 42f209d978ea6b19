"""How a judge server is started, and what can be refused before anything is."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from dataclasses import dataclass, field
from typing import Literal

from open_instruct_flip.checks import check_above_zero
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line

Backend = Literal["vllm", "transformers"]


@dataclass(frozen=True)
class ServerConfig:
    """How a judge server is started.

    Raises:
        UsageError: A number is out of range, or the further arguments can't be parted.
    """

    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; other than loopback needs a key"})
    port: int = field(default=8001, metadata={"help": "Port to listen on; 0 takes a free one"})
    backend: Literal["auto", "vllm", "transformers"] = field(
        default="auto", metadata={"help": "Server program; auto takes vllm where it is installed, else transformers"}
    )
    vllm_python: str | None = field(
        default=None,
        metadata={"help": "Python of another environment that holds vLLM, whose packages conflict with ours"},
    )
    device: Literal["auto", "cpu", "cuda"] = field(
        default="auto", metadata={"help": "Where transformers puts the model"}
    )
    data_parallel: int = field(default=1, metadata={"help": "Replicas of the model, one GPU each (vLLM)"})
    max_model_len: int | None = field(default=None, metadata={"help": "Longest prompt and reply in tokens (vLLM)"})
    api_key_env: str | None = field(
        default=None, metadata={"help": "Name of the environment variable with the key that clients must send (vLLM)"}
    )
    extra_args: str = field(default="", metadata={"help": "Further arguments for the server program, as one string"})
    start_timeout_s: float = field(
        default=1800.0, metadata={"help": "Seconds for download, load and warm-up until the server is healthy"}
    )

    def __post_init__(self) -> None:
        for name in ("data_parallel", "max_model_len"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be above 0, got {value}")
        check_above_zero(self, "start_timeout_s")
        if not 0 <= self.port < 65536:
            raise UsageError(f"--port is 1 to 65535, or 0 for a free one, got {self.port}")
        self.extra_arguments()

    def extra_arguments(self) -> list[str]:
        """`extra_args`, parted as a shell would."""
        try:
            return shlex.split(self.extra_args)
        except ValueError as error:
            raise UsageError(f"--extra_args {self.extra_args!r} can't be parted into arguments: {error}") from error


def choose_backend(config: ServerConfig) -> Backend:
    """The server program to run.

    Raises:
        UsageError: `vllm_python` names no program, or the program lacks what the configuration asks for.
        MissingDependencyError: It is not installed.
    """
    backend = _installed_backend(config)
    if backend == "transformers":
        _check_for_transformers(config)
    return backend


def _installed_backend(config: ServerConfig) -> Backend:
    if config.vllm_python and not shutil.which(config.vllm_python):
        raise UsageError(f"--vllm_python {config.vllm_python} is no program")
    if config.backend != "transformers" and (config.vllm_python or importlib.util.find_spec("vllm")):
        return "vllm"
    if config.backend == "vllm":
        raise MissingDependencyError(
            f"vLLM is not installed here: {install_line('serve')}, or name its Python with --vllm_python"
        )
    if not importlib.util.find_spec("transformers") or not importlib.util.find_spec("fastapi"):
        raise MissingDependencyError(
            f"no judge server is installed: {install_line('serve')} brings vLLM, {install_line('local')} a slow one"
        )
    return "transformers"


def _check_for_transformers(config: ServerConfig) -> None:
    if config.api_key_env:
        raise UsageError("transformers serve can't ask for a key: leave --api_key_env out, or use --backend vllm")
    if config.data_parallel > 1:
        raise UsageError("transformers serve runs one replica: leave --data_parallel out, or use --backend vllm")
