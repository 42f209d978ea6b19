"""Figures, their errors and their differences, against what statistics says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from open_instruct_flip.eval.figures import Figure, Measure, difference
from open_instruct_flip.eval.results import relative_gain


def shares(*runs: list[float]) -> Figure:
    return Figure((Measure(np.array(runs, dtype=float)[..., None]),))


def test_the_bootstrap_agrees_with_the_standard_error_of_a_share() -> None:
    figure = shares([1.0] * 60 + [0.0] * 140)
    wanted = math.sqrt(0.3 * 0.7 / 200)
    assert figure.error(seed=0) == pytest.approx(wanted, rel=0.1)
    low, high = figure.interval(seed=0)
    assert (low, high) == pytest.approx((0.3 - 1.96 * wanted, 0.3 + 1.96 * wanted), abs=0.02)
    assert figure.error(seed=0) == figure.error(seed=0)


def test_a_mean_over_subsets_has_the_error_of_independent_parts() -> None:
    one, other = shares([1.0, 0.0] * 50), shares([1.0, 0.0] * 50)
    mean = Figure.mean([one, other])
    assert mean.error(seed=0) == pytest.approx(one.error(seed=0) / math.sqrt(2), rel=0.15)


def test_what_failed_counts_neither_way_and_runs_are_averaged() -> None:
    assert shares([1.0, np.nan, 0.0, 1.0]).value() == pytest.approx(2 / 3)
    assert shares([1.0, 1.0], [0.0, np.nan]).value() == pytest.approx(0.5)
    assert math.isnan(shares([np.nan, np.nan]).value())


def test_a_paired_difference_is_surer_than_the_judges_apart() -> None:
    base = np.random.default_rng(1).integers(2, size=200).astype(float)
    better = base.copy()
    better[np.flatnonzero(base == 0)[:10]] = 1.0
    found = difference(shares(list(better)), shares(list(base)), seed=0)
    assert found.value == pytest.approx(0.05)
    assert found.low > 0
    assert found.error < shares(list(base)).error(seed=0) / 2


def test_a_difference_is_over_what_both_have_judged() -> None:
    ours, theirs = shares([1.0, 1.0, np.nan, 0.0]), shares([0.0, np.nan, 1.0, 0.0], [1.0, np.nan, 1.0, 0.0])
    assert difference(ours, theirs, seed=0).value == pytest.approx(0.25)  # items 0 and 3: 1/2 against 0 and 1/2


def test_the_relative_gain_is_the_papers() -> None:
    overall = {"flip": 0.345, "listwise": 0.210, "pairwise": 0.197, "pointwise": 0.173}
    results = {name: {"overall": {"strict": value}} for name, value in overall.items()}
    gains = relative_gain("flip", results, "strict")
    assert gains["listwise"] == pytest.approx(0.643, abs=1e-3)
    assert gains["mean"] == pytest.approx(0.796, abs=2e-3)  # the abstract's 79.6%, from rounded averages
