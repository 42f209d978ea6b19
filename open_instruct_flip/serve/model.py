"""Whether a model name can mean a model: a whole folder, or a repository that the hub has."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from open_instruct_flip.errors import FlipError, UsageError

HUB_TIMEOUT_S = 10.0
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
ELSEWHERE = ("VLLM_USE_MODELSCOPE",)
"""Variables under which the server program takes models from another place than the hub."""


def model_folder(model: str) -> Path | None:
    """The folder that a model name means, or None for a hub name.

    Raises:
        UsageError: The folder is missing, or holds no model or no tokenizer; or the name can't be a hub name.
    """
    folder = Path(model).expanduser()
    if not model or not folder.is_dir():
        if "://" not in model and not HUB_NAME.fullmatch(model):
            raise UsageError(f"there is no model folder {model!r}, and no hub name looks like this")
        return None
    if not (folder / "config.json").is_file():
        raise UsageError(f"the folder {model} holds no config.json, so no model")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UsageError(f"the model folder {model} holds no tokenizer (none of {', '.join(TOKENIZER_FILES)})")
    with contextlib.suppress(ValueError):
        json.loads((folder / "config.json").read_text("utf-8"))
        return folder.resolve()
    raise UsageError(f"{model}/config.json is no JSON")


def must_be_downloaded(name: str) -> bool:
    """Whether the server program will download this hub model first. The server itself would try for minutes.

    Raises:
        UsageError: The hub has no such model, or none that this machine may read.
        FlipError: The model is not on this machine, and the hub can't be asked.
    """
    try:
        from huggingface_hub import HfApi, constants, try_to_load_from_cache
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        return False
    if "://" in name or any(os.environ.get(variable) for variable in ELSEWHERE):
        return False
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return False
    absent = f"there is no folder {name!r}, the download cache has no such model"
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{absent}, and HF_HUB_OFFLINE forbids to download it")
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
    except RepositoryNotFoundError:
        raise UsageError(f"{absent}, nor has the hub; correct the name, or `hf auth login` if it is private") from None
    except Exception as error:  # of requests, httpx or another client: that depends on the hub library's version
        raise FlipError(f"{absent}, and the hub can't be asked: {error}") from None
    return True
