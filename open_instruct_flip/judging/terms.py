"""On what terms a command judges: how long it waits for a judge that is down, and what a token costs."""

from __future__ import annotations

from open_instruct_flip.checks import parse_prices
from open_instruct_flip.failures.config import FailureConfig


class Terms:
    """What a configuration with these two options makes of them. Each command words its options' help itself."""

    outage_timeout_s: float
    price_per_million: str | None

    def failures(self) -> FailureConfig:
        """How long to wait for a judge that is down. What becomes of failed judgements is the command's to say."""
        return FailureConfig(outage_timeout_s=self.outage_timeout_s, max_failure_rate=1.0)

    def prices(self) -> tuple[float, float] | None:
        """Prices of a million prompt and completion tokens, or None where no price was given."""
        return None if self.price_per_million is None else parse_prices(self.price_per_million)
