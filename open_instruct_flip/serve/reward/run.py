"""Runs the application with uvicorn, in one process or in several, until it is told to stop."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from open_instruct_flip.client.connections import transport_class
from open_instruct_flip.serve.ports import check_exposure, check_port
from open_instruct_flip.serve.reward.app import ServerSettings, make_app
from open_instruct_flip.serve.reward.config import check_times
from open_instruct_flip.serve.reward.metrics import SHARED_DIR, Measured
from open_instruct_flip.serve.reward.openrlhf import load_tokenizer

BACKLOG = 4096


def run_server(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then is finished first.

    Raises:
        UsageError: An option can't work, or the port is taken.
    """
    server = settings.server
    check_times(server, settings.failures)
    check_exposure(server.host, server.server_key_env, "server_key_env")
    if server.tokenizer:
        load_tokenizer(server.tokenizer)
    check_port(server.host, server.port)
    config = uvicorn.Config(
        partial(worker_app, settings),
        factory=True,
        host=server.host,
        port=server.port,
        workers=server.workers,
        backlog=BACKLOG,
        access_log=False,
        log_level=logging.INFO,
        timeout_graceful_shutdown=int(server.deadline_s) + 1,
    )
    if server.workers == 1:
        uvicorn.Server(config).run()
        return
    with shared_counts():
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def worker_app(settings: ServerSettings) -> Measured:
    """The application of a process of its own, with what requests need loaded beforehand.

    The garbage collector is kept from all that: to look through it takes 40 ms each time, in which no request goes on.
    """
    app = make_app(settings)
    if settings.judge().asks_model:
        transport_class(settings.client)
    gc.collect()
    gc.freeze()
    return app


@contextmanager
def shared_counts() -> Iterator[None]:
    """A folder in which the workers leave their counts. They are spawned, and so read where it is when they start.

    One that the environment names is taken and left as it is; others may count there too.
    """
    if SHARED_DIR in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="flip-reward-", ignore_cleanup_errors=True) as folder:
        os.environ[SHARED_DIR] = folder
        try:
            yield
        finally:
            del os.environ[SHARED_DIR]
