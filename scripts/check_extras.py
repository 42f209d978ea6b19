"""Whether each extra of setup.py can be installed: pip resolves it with `--dry-run`, in an environment of its own.

    python scripts/check_extras.py [EXTRA ...]        # all of them if none is named

Nothing is installed, and wheels are not downloaded where the index serves their metadata apart. What has no wheel
(deepspeed) is downloaded as source, since only its build says what it needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("torch", "transformers", "vllm", "deepspeed", "wandb", "litellm", "ray")


def main() -> int:
    """Check the extras one by one. Exit code 1 where one does not resolve."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("extras", nargs="*", metavar="EXTRA")
    arguments.add_argument("--timeout_s", type=float, default=900.0, help="For one extra [%(default)s]")
    parsed = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip(python, "install", "--upgrade", "pip")  # older ones download what they only have to look at
        pip(python, "wheel", "--no-deps", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("*.whl")
        extras = parsed.extras or extras_of(wheel)
        failed = [extra for extra in extras if not resolves(python, wheel, extra, parsed.timeout_s)]
        return 1 if failed else 0


def pip(python: Path, *arguments: str, timeout_s: float | None = None) -> str:
    """What pip prints on standard output."""
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=timeout_s).stdout


def extras_of(wheel: Path) -> list[str]:
    """The extras that a wheel's metadata names."""
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(metadata).decode()).get_all("Provides-Extra", [])


def resolves(python: Path, wheel: Path, extra: str, timeout_s: float) -> bool:
    """Whether pip finds versions for an extra; prints what it would bring, or why it can't be had."""
    started = time.monotonic()
    try:
        report = pip(python, "install", "--dry-run", "--report", "-", f"{wheel}[{extra}]", timeout_s=timeout_s)
        text, fine = summary(report), True
    except subprocess.TimeoutExpired:
        text, fine = f"FAILED: not resolved in {timeout_s:.0f} s", False
    except subprocess.CalledProcessError as error:
        text, fine = f"FAILED: {error.stderr.strip()}", False
    print(f"{extra:<16} {time.monotonic() - started:4.0f} s  {text}", flush=True)
    return fine


def summary(report: str) -> str:
    """How many packages pip's report has, and the versions of those that others are most particular about."""
    found = {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in json.loads(report)["install"]}
    return f"{len(found)} packages: " + ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)


if __name__ == "__main__":
    sys.exit(main())
