"""What this machine's processor can do."""

from __future__ import annotations

from pathlib import Path


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """The words by which Linux describes the CPU, `amx_bf16` for one; None where it can't be asked."""
    try:
        return frozenset(cpuinfo.read_text("utf-8", "replace").split())
    except OSError:
        return None
