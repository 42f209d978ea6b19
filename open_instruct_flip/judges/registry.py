"""Judges by name: ours, and those that other packages offer under the entry-point group of this project."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from itertools import permutations
from typing import Any, get_type_hints

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.mixed import JOINT, MixedJudge, mixed
from open_instruct_flip.plugins import find_class, known_names

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "open_instruct_flip.judges"
_OURS = {
    "flip": "open_instruct_flip.judges.flip:FlipJudge",
    "pointwise": "open_instruct_flip.judges.pointwise:PointwiseJudge",
    "pairwise": "open_instruct_flip.judges.pairwise:PairwiseJudge",
    "listwise": "open_instruct_flip.judges.listwise:ListwiseJudge",
    "likelihood": "open_instruct_flip.judges.likelihood:LikelihoodJudge",
    "esfp": "open_instruct_flip.judges.esfp.judge:EsfpJudge",
}


@dataclass(frozen=True, slots=True)
class JudgeOption:
    """An option that at least one judge has.

    Attributes:
        name: The field's name in the judges' configurations, and the flag's.
        hint: Its type.
        help: What it does; with the judges that have it where not all do, and its default where they agree.
        judges: Names of the judges that have it.
    """

    name: str
    hint: Any
    help: str
    judges: tuple[str, ...]


def judge_names() -> list[str]:
    """The names that `judge_class` knows."""
    return known_names(_OURS, ENTRY_POINT_GROUP)


def judge_class(name: str) -> type[Judge]:
    """The judge type of that name; of several names with a + between them, the mixture of those judges.

    Raises:
        UsageError: There is none, or its package can't be imported.
    """
    if JOINT in name:
        return mixed(*_parts(name))
    found = find_class(name, _OURS, ENTRY_POINT_GROUP, Judge)  # type: ignore[type-abstract]  # a subclass is wanted
    if found is None:
        raise UsageError(f"no judge is called {name!r}; there are {', '.join(judge_names())}")
    return found


def _parts(name: str) -> list[type[Judge]]:
    names = name.split(JOINT)
    if len(set(names)) < len(names):
        raise UsageError(f"the mixed judge {name!r} names a judge twice; weight it with --mixture_weights")
    return [judge_class(part) for part in names]


def pair_names() -> list[str]:
    """The names of all mixtures of two judges, in either order."""
    return [JOINT.join(pair) for pair in permutations([judge.name for judge in importable_judges()], 2)]


def judge_options() -> list[JudgeOption]:
    """Every option of every judge, once, those of all judges first. A judge that can't be imported is left out."""
    classes = list(importable_judges())
    having: dict[str, list[tuple[type[Judge], Field[Any]]]] = {}
    for judge in classes:
        for option in fields(judge.config_class):
            having.setdefault(option.name, []).append((judge, option))
    for option in fields(MixedJudge.config_class):
        having.setdefault(option.name, [(MixedJudge, option)])
    options = [_option(name, owners, len(classes)) for name, owners in having.items()]
    return sorted(options, key=lambda option: -len(option.judges))


def _option(name: str, owners: list[tuple[type[Judge], Field[Any]]], num_judges: int) -> JudgeOption:
    judge, first = owners[0]
    names = tuple(owner.name for owner, _ in owners)
    defaults = {repr(option.default) for _, option in owners}
    notes = [", ".join(names)] if len(names) < num_judges else []
    notes += [f"default: {first.default}"] if len(defaults) == 1 and first.default not in (None, "", MISSING) else []
    text = first.metadata.get("help", "") + (f" [{'; '.join(notes)}]" if notes else "")
    return JudgeOption(name, get_type_hints(judge.config_class)[name], text, names)


def our_judges() -> list[type[Judge]]:
    """The judge types of this package."""
    return [judge_class(name) for name in _OURS]


def importable_judges() -> Iterator[type[Judge]]:
    """Every judge type; of one that can't be imported a warning tells."""
    for name in [*_OURS, *(n for n in judge_names() if n not in _OURS)]:
        try:
            yield judge_class(name)
        except UsageError as error:
            _warn_once(str(error))


@cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)
