"""What the tracker shows about judgements, under `flip/`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from open_instruct_flip.failures.copies import CopyWatch, copy_rates, overlaps
from open_instruct_flip.failures.rates import failure_rates
from open_instruct_flip.integrations.open_instruct.group import JudgedGroup
from open_instruct_flip.integrations.open_instruct.samples import SAMPLES_KEY, Samples
from open_instruct_flip.rewards import Reward

RECENT_JUDGEMENTS = 512


class GroupMetrics:
    """Metrics of one group at a time, for a trainer that averages them over the groups of a step.

    A value that does not exist for a group, such as the mean F1 where every judgement failed, is left out: a 0
    would pull the step's mean down, a NaN would destroy it.
    """

    def __init__(self, *, with_samples: bool) -> None:
        self._with_samples = with_samples
        self._latencies_s: deque[float] = deque(maxlen=RECENT_JUDGEMENTS)
        self._copying = CopyWatch()

    def of(self, groups: Sequence[JudgedGroup]) -> dict[str, Any]:
        """Metrics of the judged samples of one prompt; more than one group when several judges score it."""
        if not groups:
            return {}
        rewards = [reward for group in groups for reward in group.rewards]
        self._copying.note(rewards)
        metrics: dict[str, Any] = {
            **{f"flip/{name}": rate for name, rate in failure_rates(rewards).items()},
            "flip/duplicate_rate": _share(r.duplicate for r in rewards),
            "flip/truncated_rate": _share(r.truncated for r in rewards),
            "flip/context_mismatch_rate": _share(not g.context_matches for g in groups),
        }
        repeated = {"copy_rate": copy_rates(rewards), "overlap": overlaps(rewards)}
        metrics |= {f"flip/instruction_{name}": float(np.mean(values)) for name, values in repeated.items() if values}
        metrics |= self._cost([r for r in rewards if not r.duplicate])
        for group in groups:
            metrics |= _similarity(group)
        if self._with_samples:
            metrics[SAMPLES_KEY] = Samples.of(groups[0])
        return metrics

    def _cost(self, asked: Sequence[Reward]) -> dict[str, float]:
        """Time and tokens per judgement; the 95th percentile is over the last judgements of this process."""
        answered = [r.latency_s for r in asked if r.latency_s > 0]
        self._latencies_s.extend(answered)
        if not answered:
            return {}
        return {
            "flip/judge_latency_s": float(np.mean(answered)),
            "flip/judge_latency_p95_s": float(np.percentile(self._latencies_s, 95)),
            "flip/judge_prompt_tokens": float(np.mean([r.usage.prompt_tokens for r in asked])),
            "flip/judge_completion_tokens": float(np.mean([r.usage.completion_tokens for r in asked])),
        }


def _similarity(group: JudgedGroup) -> dict[str, Any]:
    scores = [r.score for r in group.rewards if r.score is not None]
    if group.measure is None or not scores:
        return {}
    metrics: dict[str, Any] = {
        f"flip/{group.measure}_mean": float(np.mean(scores)),
        f"flip/{group.measure}_hist": np.array(scores),
    }
    for name in ("precision", "recall"):
        values = [value for r in group.rewards if (value := getattr(r, name)) is not None]
        if values:
            metrics[f"flip/{name}"] = float(np.mean(values))
    return metrics


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))
