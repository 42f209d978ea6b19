"""Further judges from what `flip eval run` has kept: normalisations, mixtures of two runs, rewards less the overlap.

    python benchmarks/rejudge.py normalise runs/llmbar-likelihood --data LLMBar
    python benchmarks/rejudge.py mix runs/rm_bench-flip runs/rm_bench-likelihood --data RM-Bench
    python benchmarks/rejudge.py less_overlap runs/llmbar-flip --data LLMBar

No model is asked. The rows of a likelihood judge hold the log-probability of each token with what is judged and, where
it ran with `--normalise pmi`, without it: `mean` and `sum` come of the first alone. A mixture is the mean of the two
runs' rewards, standardised in each group, as `--judge flip+likelihood` makes it. `less_overlap` takes from each reward
the token F1 of the response itself with its instruction, which a policy raises by repeating the instruction.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from report import show, write

from open_instruct_flip.client.answers import Token
from open_instruct_flip.eval.benchmark import Benchmark
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.judgements import read_judgements
from open_instruct_flip.eval.registry import find_benchmark
from open_instruct_flip.eval.results import summarised
from open_instruct_flip.eval.run import scores_of
from open_instruct_flip.judges.likelihood import Normalise, normalised
from open_instruct_flip.judges.mixed import standardised
from open_instruct_flip.rewards import ReadToken
from open_instruct_flip.similarity.f1 import f1_score

Row = dict[str, Any]
SEED = 0


def items_of(benchmark: Benchmark, data: str, rows: Iterable[Row]) -> list[Item]:
    """The items that were judged."""
    judged = {row["item"] for row in rows}
    return [item for item in benchmark.read(data) if item.id in judged]


def renormalised(row: Row, how: Normalise) -> Row:
    """A judgement under another normalisation."""
    if row["score"] is None:
        return row
    tokens = [ReadToken(*token) for token in row["tokens"]]
    without = [Token(0, token.prior) for token in tokens if token.prior is not None]
    return {**row, "score": normalised([Token(0, token.logprob) for token in tokens], without, how)}


def mixture(groups: Sequence[Sequence[float] | None]) -> list[float] | None:
    """The mean of standardised rewards of a group; None where one of the judges failed."""
    if any(group is None for group in groups):
        return None
    columns = [standardised(group) for group in groups if group is not None]
    return [fmean(values) for values in zip(*columns, strict=True)]


def less_overlap(item: Item, group: Sequence[float] | None) -> list[float] | None:
    """The rewards of a group, each less what its response's own words have; None where the judge failed."""
    if group is None:
        return None
    return [
        reward - f1_score(response, item.instruction).f1 for reward, response in zip(group, item.responses, strict=True)
    ]


def line(judge: str, benchmark: Benchmark, items: Sequence[Item], scores: Sequence[Any]) -> Row:
    """A judge's figures."""
    found = summarised(benchmark, items, scores, SEED)
    overall: Mapping[str, Any] = found["overall"]
    strata = {name: found["by_length"][name]["strict"] for name in ("right_longer", "right_shorter")}
    figures = {name: value for name, value in overall.items() if name not in ("low", "high")}
    return {"judge": judge, **figures, **strata}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["normalise", "mix", "less_overlap"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data", required=True, help="The benchmark's own data")
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args()
    runs = {folder.name: read_judgements(folder) for folder in arguments.folders}
    benchmark = find_benchmark(next(iter(runs.values()))[0]["benchmark"])
    items = items_of(benchmark, arguments.data, next(iter(runs.values())))
    told = partial(line, benchmark=benchmark, items=items)
    table = [told(name, scores=scores_of(rows, items)) for name, rows in runs.items()]
    if arguments.what == "mix":
        groups = zip(*(scores_of(rows, items)[0] for rows in runs.values()), strict=True)
        table.append(told("mixture", scores=[[mixture(group) for group in groups]]))
    elif arguments.what == "less_overlap":
        for name, rows in runs.items():
            (groups,) = scores_of(rows, items)
            less = [less_overlap(item, group) for item, group in zip(items, groups, strict=True)]
            table.append(told(f"{name}, less the overlap", scores=[less]))
    else:
        ways: tuple[Normalise, ...] = ("pmi", "mean", "sum")
        table += [
            told(f"{name}, {how}", scores=scores_of([renormalised(row, how) for row in rows], items))
            for name, rows in runs.items()
            for how in ways
        ]
    show(f"{benchmark.name}, {len(items)} items", table)
    if arguments.out:
        write(arguments.out, {"rows": table})


if __name__ == "__main__":
    main()
