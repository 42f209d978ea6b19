"""Benchmarks of other packages are found by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from open_instruct_flip import plugins
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval import registry
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.items import Item


class Theirs(Benchmark):
    name = "theirs"

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        yield from ()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("their_package")
    package.Theirs, package.number = Theirs, 3  # type: ignore[attr-defined]  # a made module
    monkeypatch.setitem(sys.modules, "their_package", package)
    values = {"theirs": "their_package:Theirs", "number": "their_package:number", "gone": "no_such_package:Gone"}
    points = EntryPoints(EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in values.items())
    monkeypatch.setattr(plugins, "entry_points", lambda **wanted: points.select(**wanted))


def test_every_benchmark_of_this_package_is_found_under_its_name() -> None:
    assert [registry.find_benchmark(name).name for name in registry._OURS] == list(registry._OURS)


def test_a_benchmark_of_another_package_is_found() -> None:
    assert isinstance(registry.find_benchmark("theirs"), Theirs)
    assert "theirs" in registry.benchmark_names()


@pytest.mark.parametrize(("name", "reason"), [("number", "no subclass of Benchmark"), ("gone", "can't be imported")])
def test_what_is_no_benchmark_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        registry.find_benchmark(name)
