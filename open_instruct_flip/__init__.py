"""FLIP rewards for Open Instruct: a small judge infers the instruction behind a response, token F1 is the reward.

Names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_instruct_flip.integrations.open_instruct import register as register
    from open_instruct_flip.judges.flip import FlipJudge as FlipJudge
    from open_instruct_flip.judges.pointwise import PointwiseJudge as PointwiseJudge
    from open_instruct_flip.judges.reply import UnreadableReply as UnreadableReply
    from open_instruct_flip.judges.reply import inferred_instruction as inferred_instruction
    from open_instruct_flip.rewards import FailureKind as FailureKind
    from open_instruct_flip.rewards import Reward as Reward
    from open_instruct_flip.rewards import Usage as Usage
    from open_instruct_flip.similarity.f1 import f1_score as f1_score

_HOMES = {
    "FailureKind": "rewards",
    "FlipJudge": "judges.flip",
    "PointwiseJudge": "judges.pointwise",
    "Reward": "rewards",
    "UnreadableReply": "judges.reply",
    "Usage": "rewards",
    "f1_score": "similarity.f1",
    "inferred_instruction": "judges.reply",
    "register": "integrations.open_instruct",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
