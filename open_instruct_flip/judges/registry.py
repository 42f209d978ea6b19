"""Judges by name: ours, and those that other packages offer under the entry-point group of this project."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge

ENTRY_POINT_GROUP = "open_instruct_flip.judges"
_OURS = {
    "flip": "open_instruct_flip.judges.flip:FlipJudge",
    "pointwise": "open_instruct_flip.judges.pointwise:PointwiseJudge",
    "pairwise": "open_instruct_flip.judges.pairwise:PairwiseJudge",
    "listwise": "open_instruct_flip.judges.listwise:ListwiseJudge",
    "likelihood": "open_instruct_flip.judges.likelihood:LikelihoodJudge",
}


def judge_names() -> list[str]:
    """The names that `judge_class` knows."""
    return sorted(_OURS | {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)})


def judge_class(name: str) -> type[Judge]:
    """The judge type of that name.

    Raises:
        UsageError: There is none.
    """
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        ours: type[Judge] = getattr(import_module(module), attribute)
        return ours
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        theirs: type[Judge] = point.load()
        return theirs
    raise UsageError(f"no judge is called {name!r}; there are {', '.join(judge_names())}")
