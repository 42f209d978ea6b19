"""The summary's numbers against those of the statistics module."""

from __future__ import annotations

import io
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judging.progress import Pace
from open_instruct_flip.rewards import FailureKind, Reward, Usage
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.report import summary_table
from open_instruct_flip.score.summary import Distribution, Summary


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=200), st.sampled_from([0.05, 0.5, 0.95]))
def test_rewards(values: list[float], share: float) -> None:
    rewards = Distribution(0.0, 1.0)
    for value in values:
        rewards.add(value)
    assert rewards.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert rewards.std == pytest.approx(statistics.pstdev(values), abs=1e-7)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert rewards.quantile(share) == pytest.approx(exact, abs=0.00051)


@given(st.lists(st.floats(0.001, 4000.0), min_size=1, max_size=100))
def test_latencies_are_right_to_two_percent(values: list[float]) -> None:
    latencies = Distribution(-4.0, 5.0, log=True)
    for value in values:
        latencies.add(value)
    assert latencies.quantile(1.0) == pytest.approx(max(values), rel=0.02)


def test_what_lies_outside_is_counted_at_the_edge() -> None:
    latencies = Distribution(-4.0, 5.0, log=True)
    for value in (0.0, 1e-9, 1e9):
        latencies.add(value)
    assert latencies.count == 3
    assert latencies.quantile(0.1) == pytest.approx(1e-4)
    assert latencies.quantile(1.0) == pytest.approx(1e5)


def test_nothing_has_no_quantile() -> None:
    assert math.isnan(Distribution(0.0, 1.0).quantile(0.5))


def summary_of_three() -> Summary:
    summary = Summary()
    rewards = [
        Reward(score=0.25, usage=Usage(1000, 100, 1), latency_s=2.0),
        Reward(error=FailureKind.TIMEOUT, detail="no answer", usage=Usage(requests=4)),
        Reward(error=FailureKind.INVALID_INPUT, detail="in.jsonl:2: empty"),
    ]
    for (row_id, index), reward in zip(((0, 0), (0, 1), (1, 0)), rewards, strict=True):
        summary.add({"id": row_id, "index": index, **reward.as_row()})
    return summary


def test_totals() -> None:
    summary = summary_of_three()
    assert (summary.num_rows, summary.num_responses, summary.num_failures, summary.num_bad) == (2, 3, 1, 1)
    assert summary.num_requests == 5
    assert summary.failure_rate == 0.5
    assert summary.failures == {"timeout": 1, "invalid_input": 1}
    assert summary.first_failure == "timeout: no answer"
    assert summary.cost((2.0, 10.0)) == pytest.approx(0.003)


def test_the_table_holds_them() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(summary_table(summary_of_three(), (2.0, 10.0)))
    for text in ("1 (50.00%)", "timeout", "1,000", "0.0030", "0.2500", "2.000 s"):
        assert text in console.file.getvalue()


@pytest.mark.parametrize(
    ("given", "prices"), [(None, None), ("0.5", (0.5, 0.5)), ("0.1,0.4", (0.1, 0.4)), ("0", (0, 0))]
)
def test_prices(given: str | None, prices: tuple[float, float] | None) -> None:
    assert ScoreConfig(price_per_million=given).prices() == prices


@pytest.mark.parametrize(
    "wrong",
    [
        {"price_per_million": "cheap"},
        {"price_per_million": "1,2,3"},
        {"price_per_million": "-1"},
        {"price_per_million": "nan"},
        {"max_failure_rate": 1.5},
        {"ray_workers": 0},
        {"limit": 0},
        {"outage_timeout_s": -1.0},
    ],
)
def test_values_that_cant_work_are_named(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError, match=rf"--{name}.*{value}"):
        ScoreConfig(**wrong)


def test_pace_counts_from_where_the_run_started() -> None:
    summary = summary_of_three()
    assert Pace(size=100, first_position=40, first_responses=1).text(summary, 50, 4.0) == (
        " 50% 3 responses, 0/s, 1 failed, 0:00:20 left"
    )
    assert Pace(size=100, first_position=50, first_responses=3).text(summary, 50, 4.0).endswith("- left")
