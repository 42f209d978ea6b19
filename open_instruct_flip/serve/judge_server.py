"""A judge server of one's own: starts vLLM or `transformers serve`, waits until it is healthy, and stops it again."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from open_instruct_flip.client.config import HOSTED_VLLM
from open_instruct_flip.errors import FlipError, MissingDependencyError, UsageError

Backend = Literal["auto", "vllm", "transformers"]
STOP_TIMEOUT_S = 10.0
LOG_TAIL_CHARS = 600
# Without these limits `transformers serve` takes 14 GB for a model of a million parameters.
_SMALL_CACHE = ("--cb-block-size", "32", "--cb-num-blocks", "640", "--cb-max-batch-tokens", "2048")
# Under a JSON schema a weak model fills its reply with white space until max_tokens, where the grammar allows any.
_COMPACT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


@dataclass(frozen=True)
class ServerConfig:
    """How a judge server is started."""

    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; other than loopback needs a key"})
    port: int = field(default=8001, metadata={"help": "Port to listen on; 0 takes a free one"})
    backend: Backend = field(
        default="auto", metadata={"help": "Server program; auto takes vllm where it is installed, else transformers"}
    )
    vllm_python: str | None = field(
        default=None,
        metadata={"help": "Python of another environment that holds vLLM, whose packages conflict with ours"},
    )
    device: Literal["auto", "cpu", "cuda"] = field(
        default="auto", metadata={"help": "Where transformers puts the model"}
    )
    max_model_len: int | None = field(default=None, metadata={"help": "Longest prompt and reply in tokens (vLLM)"})
    api_key_env: str | None = field(
        default=None, metadata={"help": "Name of the environment variable with the key that clients must send (vLLM)"}
    )
    extra_args: str = field(default="", metadata={"help": "Further arguments for the server program, as one string"})
    start_timeout_s: float = field(default=600.0, metadata={"help": "Seconds the server may take to become healthy"})


class JudgeServer:
    """A running judge server, as a context manager.

    Args:
        model: Model folder or hub name.
        config: How it is started.
        log_path: File for what the server prints; else one in a new temporary folder.

    Raises:
        UsageError: The folder holds no model or no tokenizer, or strangers could reach the server.
        MissingDependencyError: The server program is not installed.

    Attributes:
        backend: The server program, "vllm" or "transformers".
        api_base: Its URL, ending in /v1.
        model_name: Name under which it serves the model.
        log_path: File that holds what the server printed.
    """

    def __init__(self, model: str | Path, config: ServerConfig | None = None, log_path: Path | None = None) -> None:
        self.config = config or ServerConfig()
        self._folder = check_model(str(model))
        self.backend = choose_backend(self.config)
        check_exposure(self.config, self.backend)
        self._extra_arguments = _parted(self.config.extra_args)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self.config.port or free_port(self.config.host)
        self.model_name = self._folder.name if self._folder else str(model)
        self.log_path = log_path or Path(tempfile.mkdtemp(prefix="flip-judge-")) / "server.log"

    @property
    def api_base(self) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self.port}/v1"

    @property
    def llm_judge_model(self) -> str:
        """The model's name as litellm wants it."""
        return f"{HOSTED_VLLM}{self.model_name}"

    def command(self) -> list[str]:
        """The command that is run."""
        config = self.config
        where = ["--host", config.host, "--port", str(self.port)]
        if self.backend == "vllm":
            python = config.vllm_python or sys.executable
            # vLLM's CPU build lacks the distribution name that its `vllm` command asks for; the module always works.
            command = [
                python,
                "-m",
                "vllm.entrypoints.openai.api_server",
                "--model",
                str(self._folder or self.model_name),
            ]
            command += ["--served-model-name", self.model_name, "--enable-prefix-caching", *where]
            command += ["--structured-outputs-config", _COMPACT_JSON]
            if config.max_model_len:
                command += ["--max-model-len", str(config.max_model_len)]
        else:
            # The name that requests must give equals this argument, so a folder is named from within its parent.
            command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.model_name, *where]
            device = ("cpu" if not _has_cuda() else "auto") if config.device == "auto" else config.device
            command += ["--device", device, "--continuous-batching"]
            command += ["--dtype", "float32", *_SMALL_CACHE] if device == "cpu" else []
        return command + self._extra_arguments

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            UsageError: The port is taken.
            FlipError: It ended, or was not healthy in time; the text holds the end of its log.
        """
        check_port(self.config.host, self.port)
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder.parent if self._folder and self.backend == "transformers" else None,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and every process it started."""
        if self._process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
                if not _group_lives(self._process.pid):
                    break
        self._process = None

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit code."""
        if self._process is None:
            raise FlipError("the judge server is not running")
        return self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        if self._folder is not None:
            environment |= {"HF_HUB_OFFLINE": "1"}
        if self.config.api_key_env:
            # Handed over in the environment: a command line can be read by every user of the machine.
            environment |= {"VLLM_API_KEY": os.environ[self.config.api_key_env]}
        return environment

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self.config.start_timeout_s
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise FlipError(f"the judge server ended with code {self._process.returncode}: {self._log_tail()}")
            if is_healthy(self.api_base):
                return
            time.sleep(0.2)
        raise FlipError(
            f"the judge server at {self.api_base} was not healthy after {self.config.start_timeout_s:g} s "
            f"(log: {self.log_path}): {self._log_tail()}"
        )

    def _log_tail(self) -> str:
        text = self.log_path.read_text("utf-8", "replace")
        return " ".join(text[-LOG_TAIL_CHARS:].split()) or "it printed nothing"


def is_healthy(api_base: str) -> bool:
    """Whether the server at this URL answers `/health`."""
    try:
        with urllib.request.urlopen(f"{api_base.removesuffix('/v1')}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def choose_backend(config: ServerConfig) -> Literal["vllm", "transformers"]:
    """The server program to run.

    Raises:
        UsageError: `vllm_python` names no program.
        MissingDependencyError: It is not installed.
    """
    if config.vllm_python and not shutil.which(config.vllm_python):
        raise UsageError(f"--vllm_python {config.vllm_python} is no program")
    if config.backend != "transformers" and (config.vllm_python or importlib.util.find_spec("vllm")):
        return "vllm"
    if config.backend == "vllm":
        raise MissingDependencyError(
            "vLLM is not installed here: pip install vllm, or name its Python with --vllm_python"
        )
    if not importlib.util.find_spec("transformers") or not importlib.util.find_spec("fastapi"):
        raise MissingDependencyError(
            "no judge server is installed: pip install vllm, or pip install 'transformers[serving]'"
        )
    return "transformers"


def check_model(model: str) -> Path | None:
    """The folder that a model name means, or None for a hub name.

    Raises:
        UsageError: The folder is missing, or holds no model or no tokenizer.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or not model:
            raise UsageError(f"there is no model folder {model!r}")
        return None
    if not (folder / "config.json").is_file():
        raise UsageError(f"the folder {model} holds no config.json, so no model")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UsageError(f"the model folder {model} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)})")
    with contextlib.suppress(ValueError):
        json.loads((folder / "config.json").read_text("utf-8"))
        return folder.resolve()
    raise UsageError(f"{model}/config.json is no JSON")


def check_exposure(config: ServerConfig, backend: str) -> None:
    """Refuse a server that strangers could reach without a key, or a key that can't be had or asked for."""
    if config.api_key_env and backend == "transformers":
        raise UsageError("transformers serve can't ask for a key: leave --api_key_env out, or use --backend vllm")
    if config.api_key_env and config.api_key_env not in os.environ:
        raise UsageError(f"--api_key_env names {config.api_key_env}, which is not set")
    if config.host not in ("127.0.0.1", "localhost", "::1") and not config.api_key_env:
        raise UsageError(f"--host {config.host} can be reached from other machines: set --api_key_env as well")


def _parted(extra_args: str) -> list[str]:
    try:
        return shlex.split(extra_args)
    except ValueError as error:
        raise UsageError(f"--extra_args {extra_args!r} can't be parted into arguments: {error}") from error


def free_port(host: str) -> int:
    """A port that nothing listens on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Refuse a port that something listens on already: its answers would be taken for the judge's."""
    if not 0 < port < 65536:
        raise UsageError(f"--port is 1 to 65535, or 0 for a free one, got {port}")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(f"port {port} on {host} can't be used: {error.strerror}; choose another --port") from error


def _has_cuda() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    # A server must not outlive a run that was killed without a chance to stop it.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
