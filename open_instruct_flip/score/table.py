"""A summary as a table."""

from __future__ import annotations

from rich.table import Table

from open_instruct_flip.rewards import FailureKind
from open_instruct_flip.score.summary import Distribution, Summary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summary_table(summary: Summary, prices: tuple[float, float] | None) -> Table:
    """Rewards, failures, tokens, requests, cost and latency of a run."""
    table = Table("what", "value", show_header=False)
    table.columns[1].justify = "right"
    table.add_row("rows", f"{summary.num_rows:,}")
    table.add_row("responses", f"{summary.num_responses:,}")
    table.add_section()
    for name, value in _rewards(summary.rewards):
        table.add_row(name, value)
    table.add_section()
    table.add_row("failures", f"{summary.num_failures:,} ({summary.failure_rate:.2%})")
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


def invalid_note(summary: Summary) -> str:
    """One line on the rows that could not be judged, or nothing."""
    count = summary.failures[FailureKind.INVALID_INPUT]
    return f"{count:,} output rows are of input that can't be judged; `detail` says why" if count else ""
