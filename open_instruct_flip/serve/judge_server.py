"""A judge server of one's own: starts vLLM or `transformers serve`, waits until it is healthy, and stops it again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from open_instruct_flip.client.config import HOSTED_VLLM
from open_instruct_flip.errors import FlipError
from open_instruct_flip.serve.command import server_command, server_environment
from open_instruct_flip.serve.config import ServerConfig, choose_backend
from open_instruct_flip.serve.model import model_folder, must_be_downloaded
from open_instruct_flip.serve.ports import check_exposure, check_port, free_port, local_url, shared_url

STOP_TIMEOUT_S = 10.0
POLL_S = 0.2
NEWS_EVERY_S = 15.0
REASON_CHARS = 600
EXCEPTION = re.compile(r"(?:^|\] )(\w[\w.]*(?:Error|Exception): .+)", re.MULTILINE)
NEWS_CHARS = 160
NOTHING = "it has printed nothing"


class JudgeServer:
    """A running judge server, as a context manager.

    Args:
        model: Model folder or hub name.
        config: How it is started.
        log_path: File for what the server prints; else one in a temporary folder, which is kept only after a failure.
        say: Told in lines what is being done while the server starts.

    Raises:
        UsageError: The folder holds no model or no tokenizer, or strangers could reach the server.
        MissingDependencyError: The server program is not installed.

    Attributes:
        backend: The server program, "vllm" or "transformers".
        port: The port it listens on.
        model_name: Name under which it serves the model.
        log_path: File that holds what the server printed.
    """

    def __init__(
        self,
        model: str | Path,
        config: ServerConfig | None = None,
        log_path: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config = config or ServerConfig()
        self._folder = model_folder(str(model))
        self.backend = choose_backend(self.config)
        check_exposure(self.config.host, self.config.api_key_env, "api_key_env")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self.config.port or free_port(self.config.host)
        self.model_name = self._folder.name if self._folder else str(model)
        own = f"flip-judge-{secrets.token_hex(6)}/server.log"
        self.log_path = log_path or Path(tempfile.gettempdir(), own)
        self._log_is_own = log_path is None
        self._say = say

    @property
    def api_base(self) -> str:
        """Its URL on this machine, ending in /v1."""
        return local_url(self.config.host, self.port)

    @property
    def shared_api_base(self) -> str:
        """Its URL for other machines too, where the host lets them in."""
        return shared_url(self.config.host, self.port)

    @property
    def llm_judge_model(self) -> str:
        """The model's name as litellm wants it."""
        return f"{HOSTED_VLLM}{self.model_name}"

    def command(self) -> list[str]:
        """The command that is run."""
        return server_command(self.backend, self.model_name, self._folder, self.config, self.port)

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            UsageError: The port is taken, or the hub has no such model.
            FlipError: The hub can't be asked; or the server ended, or was not healthy in time: the text then holds
                the end of its log.
        """
        check_port(self.config.host, self.port)
        download = self._folder is None and must_be_downloaded(self.model_name)
        doing = "downloading and serving" if download else "serving"
        self._say(f"{doing} {self.model_name} with {self.backend} (log: {self.log_path})")
        try:
            self._run()
            self._wait_until_healthy()
        except FlipError:
            self._end()  # and keep the log
            raise
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and every process it started. The log is kept where the server had ended by itself."""
        ended_by_itself = self._process is not None and self._process.poll() is not None
        self._end()
        if self._log_is_own and not ended_by_itself and self.log_path.exists():
            shutil.rmtree(self.log_path.parent, ignore_errors=True)

    def wait(self) -> FlipError:
        """Wait until the server ends by itself; the error that says so."""
        if self._process is None:
            return FlipError("the judge server is not running")
        self._process.wait()
        return self._ended()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        if self._log_is_own:
            self.log_path.parent.mkdir(mode=0o700)
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder.parent if self._folder and self.backend == "transformers" else None,
                env=server_environment(self._folder, self.config),
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def _wait_until_healthy(self) -> None:
        started = news_at = time.monotonic()
        while (now := time.monotonic()) < started + self.config.start_timeout_s:
            if self._process is not None and self._process.poll() is not None:
                raise self._ended()
            if is_healthy(self.api_base):
                return
            if now > news_at + NEWS_EVERY_S:
                self._say(f"{now - started:.0f} s: {self._last_line()}")
                news_at = now
            time.sleep(POLL_S)
        raise FlipError(
            f"the judge server at {self.api_base} was not healthy after {self.config.start_timeout_s:g} s "
            f"(log: {self.log_path}): {self._reason()}"
        )

    def _ended(self) -> FlipError:
        code = self._process.returncode if self._process else None
        return FlipError(f"the judge server ended with code {code} (log: {self.log_path}): {self._reason()}")

    def _last_line(self) -> str:
        lines = self.log_path.read_text("utf-8", "replace").split("\n")
        return next((line.strip()[:NEWS_CHARS] for line in reversed(lines) if line.strip()), NOTHING)

    def _reason(self) -> str:
        """The first exception in the log, since those that follow from it hold less; or the log's end."""
        text = self.log_path.read_text("utf-8", "replace")
        if first := EXCEPTION.search(text):
            return " ".join(first[1].split())[:REASON_CHARS]
        return " ".join(text.split())[-REASON_CHARS:] or NOTHING

    def _end(self) -> None:
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


def is_healthy(api_base: str) -> bool:
    """Whether the server at this URL answers `/health`."""
    try:
        # A proxy knows nothing of a server on this machine.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{api_base.removesuffix('/v1')}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


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
