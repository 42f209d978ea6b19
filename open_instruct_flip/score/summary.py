"""What a run amounts to, gathered row by row in memory that does not grow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES, Usage

NUM_BINS = 1000


class Distribution:
    """Count, mean, standard deviation and quantiles of numbers in a known range, kept as a histogram.

    Args:
        low: Least value, in its transformed scale.
        high: Greatest value, in its transformed scale; what lies outside goes to the outermost bins.
        log: Whether the bins are equal in log10 of the value rather than in the value.

    Example:
        >>> rewards = Distribution(0.0, 1.0)
        >>> for reward in (0.2, 0.4, 0.6):
        ...     rewards.add(reward)
        >>> round(rewards.mean, 3), round(rewards.std, 3), rewards.quantile(0.5)
        (0.4, 0.163, 0.4)
    """

    def __init__(self, low: float, high: float, *, log: bool = False) -> None:
        self._low, self._step, self._log = low, (high - low) / NUM_BINS, log
        self._bins = [0] * (NUM_BINS + 1)
        self.count = 0
        self.num_low = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        """Take a value in."""
        self.count += 1
        self.num_low += value <= self._low
        off = value - self.mean
        self.mean += off / self.count
        self._squares += off * (value - self.mean)
        scaled = math.log10(max(value, 1e-300)) if self._log else value
        self._bins[min(max(round((scaled - self._low) / self._step), 0), NUM_BINS)] += 1

    @property
    def std(self) -> float:
        """Standard deviation of the population."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The value below which a share of the values lies, to the width of a bin; NaN of nothing."""
        if not self.count:
            return math.nan
        wanted = max(1, math.ceil(share * self.count))
        number = next(n for n, seen in enumerate(accumulate(self._bins)) if seen >= wanted)
        scaled = self._low + number * self._step
        return 10.0**scaled if self._log else scaled


class Summary:
    """Totals over the rows of an output, whether they were written now or by an earlier, interrupted run."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.num_responses = 0
        self.rewards = Distribution(0.0, 1.0)
        self.latencies_s = Distribution(-4.0, 5.0, log=True)
        self.failures: Counter[str] = Counter()
        self.first_failure = ""
        self.num_truncated = 0
        self.copy_rates = Distribution(0.0, 1.0)
        self.overlaps = Distribution(0.0, 1.0)
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.num_requests = 0
        self.integer_ids = True

    def add_all(self, outputs: Iterable[Mapping[str, Any]]) -> None:
        """Take in rows of the output."""
        for output in outputs:
            self.add(output)

    def add(self, output: Mapping[str, Any]) -> None:
        """Take in one row of the output."""
        self.num_responses += 1
        self.num_rows += output["index"] == 0
        self.integer_ids &= isinstance(output["id"], int) and abs(output["id"]) < 2**63
        if output["error"] is None:
            self.rewards.add(output["reward"])
        else:
            self.failures[output["error"]] += 1
            if output["error"] in REQUEST_FAILURES | REPLY_FAILURES:
                self.first_failure = self.first_failure or f"{output['error']}: {output['detail']}"
        self.num_truncated += output["truncated"]
        if output.get("copy_rate") is not None:  # a partial output of an earlier version has none, and is refused
            self.copy_rates.add(output["copy_rate"])
        if output.get("overlap") is not None:
            self.overlaps.add(output["overlap"])
        usage = output["usage"]
        self.prompt_tokens += usage["prompt_tokens"]
        self.completion_tokens += usage["completion_tokens"]
        self.num_requests += usage["requests"]
        if output["latency_s"] > 0:
            self.latencies_s.add(output["latency_s"])

    @property
    def num_failures(self) -> int:
        """Responses whose request failed, or the reply to it."""
        return sum(self.failures[kind] for kind in REQUEST_FAILURES) + self.num_reply_failures

    @property
    def num_reply_failures(self) -> int:
        """Responses whose judge gave a reply without a verdict, or none to this prompt."""
        return sum(self.failures[kind] for kind in REPLY_FAILURES)

    @property
    def num_bad(self) -> int:
        """Responses that no judge could be asked about: faults of the input."""
        return self.failures.total() - self.num_failures

    @property
    def failure_rate(self) -> float:
        """Share of failed judgements, in [0, 1]. Faults of the input do not count."""
        judged = self.num_responses - self.num_bad
        return self.num_failures / judged if judged else 0.0

    def cost(self, prices: tuple[float, float]) -> float:
        """What the tokens cost at these prices of a million prompt and completion tokens."""
        return Usage(self.prompt_tokens, self.completion_tokens).cost(prices)
