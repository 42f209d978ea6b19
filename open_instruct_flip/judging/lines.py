"""Rows as lines of JSON that outlive the process that writes them."""

from __future__ import annotations

import json
from typing import Any

Output = dict[str, Any]


def encode(output: Output) -> bytes:
    """A row as a line of JSON. Half a surrogate pair, which UTF-8 can't hold, becomes its JSON escape."""
    return json.dumps(output, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def decode(line: bytes) -> Output | None:
    """The row of a line, or None where a killed process has left none."""
    try:
        output = json.loads(line)
    except ValueError:
        return None
    return output if isinstance(output, dict) else None
