"""What is said at the end of a run: a table, a summary for programs, and what deserves a second look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from open_instruct_flip.failures.copies import ALARMING_RATE
from open_instruct_flip.judging.identity import package_versions
from open_instruct_flip.score.summary import Distribution, Summary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NEARLY_ALL = 0.95


def summary_table(summary: Summary, prices: tuple[float, float] | None) -> Table:
    """Rewards, failures, tokens, requests, cost and latency of a run."""
    table = Table("what", "value", show_header=False)
    table.columns[1].justify = "right"
    table.add_row("rows", f"{summary.num_rows:,}")
    table.add_row("responses", f"{summary.num_responses:,}")
    table.add_section()
    for name, value in _rewards(summary.rewards):
        table.add_row(name, value)
    if summary.copy_rates.count:
        table.add_row("copy rate, mean", f"{summary.copy_rates.mean:.4f}")
        table.add_row("F1 of response and instruction, mean", f"{summary.overlaps.mean:.4f}")
    table.add_section()
    table.add_row("failures", f"{summary.num_failures:,} ({summary.failure_rate:.2%})")
    table.add_row("bad rows", f"{summary.num_bad:,}")
    for kind, count in summary.failures.most_common():
        table.add_row(f"  {kind}", f"{count:,}")
    table.add_section()
    table.add_row("judge requests", f"{summary.num_requests:,}")
    table.add_row("prompt tokens", f"{summary.prompt_tokens:,}")
    table.add_row("completion tokens", f"{summary.completion_tokens:,}")
    if prices is not None:
        table.add_row("cost", f"{summary.cost(prices):,.4f}")
    if summary.latencies_s.count:
        latency = summary.latencies_s
        table.add_row("latency, mean and p95", f"{latency.mean:.3f} s, {latency.quantile(0.95):.3f} s")
    return table


def summary_json(summary: Summary, settings: Mapping[str, Any], prices: tuple[float, float] | None) -> dict[str, Any]:
    """The same for programs, with what the rewards depend on."""
    rewards, latency = summary.rewards, summary.latencies_s
    return {
        "settings": dict(settings),
        "versions": package_versions(),
        "rows": summary.num_rows,
        "responses": summary.num_responses,
        "rewards": {
            "count": rewards.count,
            "mean": rewards.mean if rewards.count else None,
            "std": rewards.std if rewards.count else None,
            "quantiles": {f"{share:g}": _finite(rewards.quantile(share)) for share in QUANTILES},
        },
        "failure_rate": summary.failure_rate,
        "failures": dict(summary.failures),
        "bad_rows": summary.num_bad,
        "truncated": summary.num_truncated,
        "copy_rate": summary.copy_rates.mean if summary.copy_rates.count else None,
        "overlap": summary.overlaps.mean if summary.overlaps.count else None,
        "requests": summary.num_requests,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cost": None if prices is None else summary.cost(prices),
        "latency_s": {"mean": latency.mean, "p95": _finite(latency.quantile(0.95))},
    }


def warnings(summary: Summary) -> list[str]:
    """A line on each thing that makes the rewards doubtful."""
    lines, rewards = [], summary.rewards
    if not summary.num_responses:
        lines.append("the input holds no rows")
    if summary.num_bad:
        lines.append(f"{summary.num_bad:,} output rows are of input that can't be judged; `detail` says why")
    if rewards.count > 1 and rewards.std == 0:
        lines.append(f"all {rewards.count:,} rewards are {rewards.mean:g}: see whether judge and input fit together")
    elif rewards.count > 1 and rewards.num_low >= NEARLY_ALL * rewards.count:
        lines.append(
            f"{rewards.num_low:,} of {rewards.count:,} rewards are 0: see whether judge and input fit together"
        )
    if summary.copy_rates.mean > ALARMING_RATE:
        lines.append(
            f"the responses repeat {summary.copy_rates.mean:.0%} of their instructions' runs of 5 words, which raises "
            "rewards by backward inference without merit; see --copy_guard"
        )
    return lines


def _rewards(rewards: Distribution) -> list[tuple[str, str]]:
    if not rewards.count:
        return [("reward", "none")]
    quantiles = " ".join(f"{rewards.quantile(share):.3f}" for share in QUANTILES)
    shares = ", ".join(f"{share:.0%}" for share in QUANTILES)
    return [
        ("reward, mean", f"{rewards.mean:.4f}"),
        ("reward, standard deviation", f"{rewards.std:.4f}"),
        (f"reward, quantiles {shares}", quantiles),
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
