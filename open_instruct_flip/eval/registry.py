"""Benchmarks by name: ours, and those that other packages offer under the entry-point group of this project."""

from __future__ import annotations

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.plugins import find_class, known_names

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
    return known_names(_OURS, ENTRY_POINT_GROUP)


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UsageError: There is none, or its package can't be imported.
    """
    found = find_class(name, _OURS, ENTRY_POINT_GROUP, Benchmark)  # type: ignore[type-abstract]  # a subclass is wanted
    if found is None:
        raise UsageError(f"no benchmark is called {name!r}; there are {', '.join(benchmark_names())}")
    return found()
