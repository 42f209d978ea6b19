"""What an endpoint's URL says: whether it holds a password, which is for its server alone, and who can reach it."""

from __future__ import annotations

import ipaddress
import re

_CREDENTIALS = re.compile(r"(?<=://)[^\s,]*@")
# Up to the last @, so that a password which should have been escaped is hidden whole.


def shown_url(text: str) -> str:
    """A URL, several with commas, or a line with URLs in it, without the user and the password.

    Example:
        >>> shown_url("http://me:secret@host:8001/v1,http://other/v1")
        'http://host:8001/v1,http://other/v1'
    """
    return _CREDENTIALS.sub("", text)


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user or a password, which its server then gets as HTTP's basic authentication."""
    return _CREDENTIALS.search(url) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
