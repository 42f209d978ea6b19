"""The summary's numbers against values computed by hand."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_instruct_flip.compare.run import Run
from open_instruct_flip.compare.summary import (
    check_shared,
    default_window,
    mean_over_steps,
    shared_steps,
    smooth,
    summarize,
    write_aligned,
)
from open_instruct_flip.errors import UsageError


def run_of(name, first_step=1, **metrics):
    length = len(next(iter(metrics.values())))
    rows = tuple(
        {"step": first_step + place} | {metric: values[place] for metric, values in metrics.items()}
        for place in range(length)
    )
    return Run(name, name, rows=rows)


def test_first_best_last_and_area_by_hand():
    (line,) = summarize([run_of("a", reward=[0.0, 0.3, 0.9, 0.6])], window=3)
    assert line.first == pytest.approx((0.0 + 0.3) / 2)
    assert line.best == (pytest.approx((0.9 + 0.6) / 2), 4)
    assert line.last == pytest.approx((0.9 + 0.6) / 2)
    assert line.mean == pytest.approx((0.15 + 0.6 + 0.75) / 3)


def test_without_smoothing_the_values_are_raw():
    (line,) = summarize([run_of("a", reward=[0.0, 0.3, 0.9, 0.6])], window=1)
    assert (line.first, line.best, line.last) == (0.0, (0.9, 3), 0.6)


@pytest.mark.parametrize(
    ("metric", "best"), [("reward", (3.0, 2)), ("judge_latency_s", (1.0, 1)), ("kl", None), ("entropy", None)]
)
def test_best_knows_which_end_is_good(metric, best):
    (line,) = summarize([run_of("a", **{metric: [1.0, 3.0, 2.0]})], window=1)
    assert line.best == best


def test_the_area_covers_the_steps_that_all_runs_share():
    long = run_of("long", reward=[0.0, 1.0, 2.0, 3.0, 4.0])
    short = run_of("short", first_step=2, reward=[1.0, 1.0])
    assert shared_steps([long, short], "reward") == (2, 3)
    by_name = {line.run: line for line in summarize([long, short], window=1)}
    assert by_name["long"].mean == pytest.approx(1.5)
    assert by_name["short"].mean == pytest.approx(1.0)
    assert by_name["long"].last == 4.0


def test_runs_that_share_no_step_have_no_area():
    early, late = run_of("early", reward=[1.0, 1.0]), run_of("late", first_step=9, reward=[1.0])
    assert [line.mean for line in summarize([early, late], window=1)] == [None, None]


def test_a_metric_that_one_run_lacks_does_not_narrow_the_others():
    with_kl = run_of("a", reward=[1.0, 1.0], kl=[0.0, 0.2])
    without = run_of("b", reward=[1.0])
    lines = {(line.metric.name, line.run): line for line in summarize([with_kl, without], window=1)}
    assert lines["kl", "a"].mean == pytest.approx(0.1)
    assert ("kl", "b") not in lines


def test_a_sparse_metric_is_smoothed_over_steps_not_over_points():
    assert smooth([10, 20, 30], [0.0, 1.0, 2.0], window=15).tolist() == [0.0, 1.0, 2.0]
    assert smooth([10, 20, 30], [0.0, 1.0, 2.0], window=20).tolist() == [0.5, 1.0, 1.5]


def test_the_area_of_unevenly_spaced_points_and_between_them():
    assert mean_over_steps([0, 1, 4], [0.0, 2.0, 2.0], first=0, last=4) == pytest.approx((1 + 6) / 4)
    assert mean_over_steps([0, 4], [0.0, 4.0], first=1, last=2) == pytest.approx(1.5)
    assert mean_over_steps([0, 4], [0.0, 4.0], first=3, last=3) == pytest.approx(3.0)


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50), st.integers(1, 60))
def test_a_smoothed_curve_stays_within_the_raw_one(values, window):
    smoothed = smooth(range(len(values)), values, window)
    assert smoothed.min() >= min(values) - 1e-9
    assert smoothed.max() <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("lengths", "window"), [([5], 1), ([60], 7), ([150, 150], 15), ([1000, 100, 100], 11), ([5000], 101)]
)
def test_the_default_window_is_odd_and_a_tenth_of_the_middle_run(lengths, window):
    assert default_window([run_of(str(n), reward=[0.0] * length) for n, length in enumerate(lengths)]) == window


def test_curves_are_aligned_by_step(tmp_path):
    runs = [run_of("a", reward=[0.1, 0.2]), run_of("b", first_step=2, reward=[0.3, 0.4], kl=[1.0, 2.0])]
    write_aligned(runs, tmp_path / "curves.csv")
    assert list(csv.reader((tmp_path / "curves.csv").open())) == [
        ["step", "reward: a", "reward: b", "kl: b"],
        ["1", "0.1", "", ""],
        ["2", "0.2", "0.3", "1.0"],
        ["3", "", "0.4", "2.0"],
    ]


def test_runs_without_a_shared_metric_are_refused_with_what_each_has():
    with pytest.raises(UsageError, match=r"a: reward; b: kl"):
        check_shared([run_of("a", reward=[1.0]), run_of("b", kl=[1.0])])
    with pytest.raises(UsageError, match="share no metric"):
        check_shared([run_of("a", loss=[1.0])])
    check_shared([run_of("a", reward=[1.0])])
