"""What is found by name: classes of this package, and those that other packages offer under an entry-point group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from open_instruct_flip.errors import UsageError

Found = TypeVar("Found")


def known_names(ours: Iterable[str], group: str) -> list[str]:
    """The names that `find_class` knows, sorted."""
    return sorted({*ours, *(point.name for point in entry_points(group=group))})


def find_class(name: str, ours: Mapping[str, str], group: str, base: type[Found]) -> type[Found] | None:
    """The subclass of `base` that has this name, or None where there is none.

    Args:
        name: Ours go before those of other packages.
        ours: Name -> `module:attribute` of this package.
        group: The entry points of other packages.
        base: What the class must extend; messages call it by this name.

    Raises:
        UsageError: Another package's class can't be imported, or is none.
    """
    if name in ours:
        module, attribute = ours[name].split(":")
        known: type[Found] = getattr(import_module(module), attribute)
        return known
    return next((_load(point, base) for point in entry_points(group=group, name=name)), None)


def _load(point: EntryPoint, base: type[Found]) -> type[Found]:
    what = base.__name__.lower()
    try:
        found = point.load()
    except Exception as error:  # whatever another package's module does when it is imported
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the {what} {point.name!r} of the entry point {point.value!r} can't be imported: "
            f"{type(error).__name__}: {reason}; mend or remove its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(
            f"the entry point {point.value!r} of the {what} {point.name!r} is no subclass of {base.__name__}"
        )
    return found
