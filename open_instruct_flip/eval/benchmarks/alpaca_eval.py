"""AlpacaEval: does a judge order models as their length-controlled win rates do? (arXiv 2404.04475)

A subset is a model, its items the model's answers to the instructions. The files are those of a copy of the repository
(github.com/tatsu-lab/alpaca_eval). NullModel, which answers every instruction with one text written to deceive GPT-4,
leads its leaderboard; it is no model to be ordered, and stands as a row of its own outside the correlation.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.benchmark import Benchmark, Scores
from open_instruct_flip.eval.benchmarks.reading import conversation_of, faults_of, text_of
from open_instruct_flip.eval.figures import Array, Figure, Measure
from open_instruct_flip.eval.items import Item
from open_instruct_flip.rows.files import Row, read_file

LEADERBOARD = Path("src/alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv")
WIN_RATE = "length_controlled_winrate"
ATTACK = "NullModel"


class AlpacaEval(Benchmark):
    """Read from a copy of the repository; `--subset` names models, and no name takes all that have a win rate."""

    name = "alpaca_eval"
    headline = "spearman"
    has_right = False
    baselines = ("shorter", "longer", "token_f1")

    def __init__(self) -> None:
        self._win_rates: dict[str, float] = {}

    def read(self, data: str, split: str | None = None) -> Iterator[Item]:
        self._win_rates = _win_rates(Path(data) / LEADERBOARD)
        for model in self._win_rates:
            path = Path(data) / "results" / model / "model_outputs.json"
            if path.is_file():
                for number, row in enumerate(read_file(path)):
                    yield _item(model, number, row)

    def figures(self, subset: str, items: Sequence[Item], scores: Scores) -> dict[str, Figure]:
        """The mean reward of a model's answers, with its published win rate, in [0, 100], beside it."""
        values = np.array([[np.nan if own is None else own[0] for own in run] for run in scores], dtype=float)
        published = Measure(np.full((1, 1, 1), self._win_rates[subset]))
        return {"mean": Figure((Measure(values[..., None]),)), WIN_RATE: Figure((published,))}

    def overall(self, subsets: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
        """Spearman's correlation over models of mean reward and win rate; models are resampled for its interval."""
        models = [own for name, own in subsets.items() if name != ATTACK]
        pairs = [[own["mean"].value(), own[WIN_RATE].value()] for own in models]
        return {"spearman": Figure((Measure(np.array([pairs], dtype=float).reshape(1, -1, 2), spearman),))}


def spearman(values: Array) -> Array:
    """Rank correlation of (..., units, 2) over units, ties at their mean rank; NaN below 3 units that are judged."""
    flat = values.reshape(-1, *values.shape[-2:])
    return np.array([_spearman(one[~np.isnan(one).any(axis=-1)]) for one in flat]).reshape(values.shape[:-2])


def _spearman(pairs: Array) -> float:
    if len(pairs) < 3:
        return float("nan")
    first, second = _ranks(pairs[:, 0]), _ranks(pairs[:, 1])
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Array) -> Array:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[place]
    return ranks


def _win_rates(path: Path) -> dict[str, float]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[""]: float(row[WIN_RATE]) for row in csv.DictReader(file) if row[WIN_RATE]}
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing; --data takes a copy of the alpaca_eval repository") from error
    except (KeyError, ValueError) as error:
        raise UsageError(f"{path} is no leaderboard of AlpacaEval 2: {error!r}") from error


def _item(model: str, number: int, row: Row) -> Item:
    with faults_of(row):
        conversation = conversation_of(row.columns["instruction"])
        return Item(f"{model}/{number}", model, conversation, (text_of(row.columns, "output"),), (None,))
