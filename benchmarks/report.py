"""What every benchmark prints and writes: a table, the machine it ran on, and a JSON file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import rich
from rich.table import Table

PACKAGES = ("aiohttp", "litellm", "openai", "vllm")


def machine() -> dict[str, Any]:
    """Where the figures come from; the load of the last minute tells how quiet it was."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
        "packages": versions,
    }


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table; what a row does not have is a dash."""
    table = Table(title=title, title_justify="left")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    rich.print(table)


def write(path: str, results: dict[str, Any]) -> None:
    """Write results as JSON; missing folders are made."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    rich.print(f"written to {file}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
