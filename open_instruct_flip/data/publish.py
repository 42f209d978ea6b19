"""Put a built dataset on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from open_instruct_flip.errors import FlipError


def publish(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload a dataset folder as the hub dataset `name` and return its address.

    The hub's own login is used (`hf auth login`, or HF_TOKEN).

    Raises:
        FlipError: The hub refuses or can't be reached.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        address = hub.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Upload dataset")
    except Exception as error:  # the hub's client raises errors of several libraries without a common base
        reason = " ".join(str(error).split())
        raise FlipError(f"{folder} is built, but the hub did not take it as {name}: {reason:.300}") from error
    return str(address)
