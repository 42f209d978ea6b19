"""Whether each extra of setup.py can be installed on each Python: uv finds the versions, and installs nothing.

    python scripts/check_extras.py [EXTRA ...]        # all of them if none is named

What pip's `--dry-run` finds, for any Python and in a tenth of the time. The index is asked for metadata; only what has
no wheel (deepspeed) is downloaded, as source.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.py"
PYTHONS = ("3.11", "3.12", "3.13")
SHOWN = ("torch", "transformers", "trl", "vllm", "deepspeed", "wandb", "litellm", "ray")
TIMEOUT_S = 600


def main() -> int:
    """Check the extras one by one. Exit code 1 where one can't be installed."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("extras", nargs="*", metavar="EXTRA")
    extras = arguments.parse_args().extras or importlib.metadata.metadata("open-instruct-flip").get_all(
        "Provides-Extra"
    )
    found = [resolves(extra, python) for extra in extras for python in PYTHONS]
    return 0 if all(found) else 1


def resolves(extra: str, python: str) -> bool:
    """Whether there are versions for an extra; prints how many packages it would bring, or why it can't be had."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--extra", extra, "--python-version", python, str(SETUP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    pins = [line for line in done.stdout.splitlines() if "==" in line]
    shown = " ".join(pin for pin in pins if pin.partition("==")[0] in SHOWN)
    print(f"{extra:<16} {python}  " + (done.stderr or f"{len(pins):3} packages  {shown}"), flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
