"""Finding an Open Instruct checkout and what it needs, before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from open_instruct_flip.errors import MissingDependencyError, UsageError

HOW_TO_GET_IT = (
    "clone https://github.com/allenai/open-instruct, install it as its README says, and set OPEN_INSTRUCT_DIR to the "
    "checkout"
)
WITHOUT_GPU = "training without a GPU: `flip local train`"


def put_on_path(folder: str | None) -> None:
    """Make a checkout importable here and in the Ray workers that inherit this environment.

    Raises:
        UsageError: The folder is no Open Instruct checkout.
    """
    if not folder:
        return
    path = Path(folder).expanduser().resolve()
    if not (path / "open_instruct" / "ground_truth_utils.py").is_file():
        raise UsageError(f"OPEN_INSTRUCT_DIR={folder} holds no open_instruct/ground_truth_utils.py: {HOW_TO_GET_IT}")
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if str(path) not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, str(path)])
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))


def check_machine(*, needs_gpu: bool = True) -> None:
    """Raise MissingDependencyError, naming all that is missing, unless Open Instruct can train here."""
    missing = []
    package = importlib.util.find_spec("open_instruct")
    if package is None or package.origin is None:  # without an origin it is some folder of that name
        missing.append(f"Open Instruct ({HOW_TO_GET_IT})")
    if needs_gpu and not has_gpu():
        missing.append("a GPU")
    if missing:
        raise MissingDependencyError(f"this machine lacks {' and '.join(missing)}; {WITHOUT_GPU}")


def has_gpu() -> bool:
    """Whether this machine, or the Ray cluster that the environment names, has a GPU for the trainer."""
    if os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_OVERRIDE_RESOURCES"):
        return True
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
