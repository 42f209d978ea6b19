"""Benchmarks by name: ours, and those that other packages offer under the entry-point group of this project."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark

ENTRY_POINT_GROUP = "open_instruct_flip.benchmarks"
_OURS = {
    "llmbar": "open_instruct_flip.eval.benchmarks.llmbar:LLMBar",
    "rewardbench2": "open_instruct_flip.eval.benchmarks.rewardbench2:RewardBench2",
    "rm_bench": "open_instruct_flip.eval.benchmarks.rm_bench:RMBench",
    "judgebench": "open_instruct_flip.eval.benchmarks.judgebench:JudgeBench",
    "alpaca_eval": "open_instruct_flip.eval.benchmarks.alpaca_eval:AlpacaEval",
    "pairs": "open_instruct_flip.eval.benchmarks.pairs:Pairs",
}


def benchmark_names() -> list[str]:
    """The names that `find_benchmark` knows."""
    return sorted({*_OURS, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UsageError: There is none, or its package can't be imported.
    """
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        ours: type[Benchmark] = getattr(import_module(module), attribute)
        return ours()
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _load(point)
    raise UsageError(f"no benchmark is called {name!r}; there are {', '.join(benchmark_names())}")


def _load(point: EntryPoint) -> Benchmark:
    try:
        found = point.load()
    except Exception as error:  # whatever another package's module does when it is imported
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the benchmark {point.name!r} of the entry point {point.value!r} can't be imported: "
            f"{type(error).__name__}: {reason}; mend or remove its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Benchmark)):
        raise UsageError(f"the entry point {point.value!r} of the benchmark {point.name!r} is no subclass of Benchmark")
    return found()
