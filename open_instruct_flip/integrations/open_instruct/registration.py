"""Registration: what is replaced in an Open Instruct checkout, at run time and in the driver only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from open_instruct_flip.errors import MissingDependencyError
from open_instruct_flip.integrations.open_instruct.checkout import HOW_TO_GET_IT
from open_instruct_flip.integrations.open_instruct.options import FlipOptions
from open_instruct_flip.judges.registry import judge_names, pair_names

logger = logging.getLogger(__name__)


def register() -> None:
    """Make the judges known to Open Instruct. Calling it again changes nothing.

    Replaces `build_all_verifiers`, `RewardConfig` and `StreamingDataLoaderConfig` in every imported module of
    Open Instruct that holds them; modules imported later take them from where they are defined. Ray workers need
    none of this: what reaches them are instances of our classes.

    Raises:
        MissingDependencyError: Open Instruct, or something it needs, can't be imported.
    """
    ground_truth_utils, judge_utils, data_loader = _open_instruct()
    if hasattr(ground_truth_utils.build_all_verifiers, "builds_flip_verifiers"):
        return
    # Imported before anything is replaced, so that they subclass Open Instruct's own classes.
    from open_instruct_flip.integrations.open_instruct.reward_function import FlipRewardConfig
    from open_instruct_flip.integrations.open_instruct.streaming_config import FlipStreamingDataLoaderConfig

    ours = [*judge_names(), *pair_names()]
    for name in ours:
        if name in judge_utils.JUDGE_PROMPT_MAP:
            logger.warning(
                "this Open Instruct has a judge %r of its own; open_instruct_flip's takes its place as general-%s",
                name,
                name,
            )
        judge_utils.JUDGE_PROMPT_MAP[name] = name
        judge_utils.EXTRACTOR_MAP[name] = read_by_the_verifier
    build = _with_judges(ours, ground_truth_utils.build_all_verifiers)
    _replace(data_loader.StreamingDataLoaderConfig, FlipStreamingDataLoaderConfig)
    _replace(ground_truth_utils.RewardConfig, FlipRewardConfig)
    _replace(ground_truth_utils.build_all_verifiers, build)


def read_by_the_verifier(reply: str) -> NoReturn:
    """Holds a judge's place in EXTRACTOR_MAP; our verifiers need more than a reply's text to make a reward of it."""
    raise NotImplementedError(f"this reply is read by its verifier, not by an extractor: {reply[:80]!r}")


def _with_judges(names: Sequence[str], build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def build_all_verifiers(args: Any, streaming_config: Any = None) -> dict[str, Any]:
        """Open Instruct's verifiers, with ours in place of the LLM judges that were built under our names."""
        from open_instruct_flip.integrations.open_instruct.verifier import JudgeVerifier

        options = FlipOptions.from_flags(args, streaming_config)
        verifiers = build(args, streaming_config)
        ours = {f"general-{name}": JudgeVerifier(name, options) for name in names}
        # Found by what stands there, not by its key: --remap_verifier puts it under another key too.
        return {key: ours.get(verifier.name, verifier) for key, verifier in verifiers.items()}

    build_all_verifiers.builds_flip_verifiers = True  # type: ignore[attr-defined]  # marks the function
    return build_all_verifiers


def _replace(original: Any, replacement: Any) -> None:
    for name, module in list(sys.modules.items()):
        if name == "open_instruct" or name.startswith("open_instruct."):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    setattr(module, attribute, replacement)


def _open_instruct() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from open_instruct import data_loader, ground_truth_utils, judge_utils
    except ImportError as error:
        raise MissingDependencyError(f"Open Instruct can't be imported ({error}): {HOW_TO_GET_IT}") from error
    return ground_truth_utils, judge_utils, data_loader
