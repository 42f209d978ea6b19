"""Ports and addresses of a server: which one is free, where it is reached, and by whom."""

from __future__ import annotations

import os
import socket

from open_instruct_flip.client.urls import is_loopback
from open_instruct_flip.errors import UsageError

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Hosts that mean every address of the machine, and where the machine itself reaches them."""


def free_port(host: str) -> int:
    """A port that nothing listens on.

    Raises:
        UsageError: The host is no address of this machine.
    """
    with _bound(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Refuse a port that something listens on already: its answers would be taken for the judge's."""
    _bound(host, port).close()


def check_exposure(host: str, key_env: str | None, option: str) -> None:
    """Refuse a server that strangers could reach without a key, and a key that can't be had.

    Args:
        host: Address that the server listens on.
        key_env: Name of the environment variable that holds the key.
        option: Name of the option that names it.

    Raises:
        UsageError: Naming the option.
    """
    if key_env and not os.environ.get(key_env):
        raise UsageError(f"--{option} names {key_env}, which is not set or empty")
    if not key_env and not is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: set --{option} as well")


def local_url(host: str, port: int) -> str:
    """The URL at which this machine reaches a server that listens on `host`."""
    return _url(WILDCARDS.get(host, host), port)


def shared_url(host: str, port: int) -> str:
    """The URL at which other machines reach it too, as far as `host` allows."""
    return _url(_full_name() if host in WILDCARDS else host, port)


def _bound(host: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except OSError as error:
        probe.close()
        remedy = "choose another --port or --host"
        raise UsageError(f"port {port} on {host} can't be used: {error.strerror}; {remedy}") from error
    return probe


def _full_name() -> str:
    name = socket.getfqdn()
    return socket.gethostname() if name.startswith("localhost") else name


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
