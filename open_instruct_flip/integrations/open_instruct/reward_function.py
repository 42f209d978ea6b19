"""The reward function that judges whole groups, around Open Instruct's own. Imports Open Instruct."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from open_instruct.ground_truth_utils import RewardConfig

from open_instruct_flip.client.together import together
from open_instruct_flip.errors import FlipError
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.integrations.open_instruct.group import JudgedGroup
from open_instruct_flip.integrations.open_instruct.metrics import GroupMetrics
from open_instruct_flip.integrations.open_instruct.options import in_our_flags
from open_instruct_flip.integrations.open_instruct.samples import log_tables
from open_instruct_flip.integrations.open_instruct.stopped import StoppedScores
from open_instruct_flip.integrations.open_instruct.verifier import JudgeVerifier, VerdictKey, answered

logger = logging.getLogger(__name__)


@dataclass
class FlipRewardConfig(RewardConfig):
    """Open Instruct's reward configuration; what it builds judges the samples of a prompt together.

    Format rewards, penalties, the reward multiplier, aggregation and every other verifier stay Open Instruct's:
    its own reward function runs, and our verifiers answer it with the scores of the group.
    """

    def __post_init__(self) -> None:
        # Runs where the configuration is made, in the driver, and not where it is unpickled.
        log_tables(self.samples_every)

    @property
    def judges(self) -> list[JudgeVerifier]:
        """The verifiers that are ours."""
        return [v for v in self.verifier_functions.values() if isinstance(v, JudgeVerifier)]

    @property
    def samples_every(self) -> int:
        """Training steps from one table of samples to the next; 0 for none."""
        return max((v.options.training.samples_every for v in self.judges), default=0)

    def build(self) -> Callable[..., Any]:
        """The reward function, to be called in the process that computes rewards."""
        return GroupRewardFunction(self, super().build())


class GroupRewardFunction:
    """Judges a group with our verifiers, then lets Open Instruct's reward function do the rest."""

    def __init__(self, config: FlipRewardConfig, upstream: Callable[..., Any]) -> None:
        self._config = config
        self._upstream = upstream
        self._guards: dict[str, OutageGuard] = {}
        self._metrics = GroupMetrics(with_samples=config.samples_every > 0)

    async def __call__(
        self,
        responses: list[Any],
        decoded_responses: list[str],
        ground_truths: list[Any],
        datasets: list[Any],
        finish_reasons: list[str],
        infos: Any,
        queries: list[str] | None = None,
    ) -> tuple[Sequence[float], dict[str, Any]]:
        """Scores and metrics of one prompt's samples; see Open Instruct's `RewardConfig.build`."""
        arguments = (responses, decoded_responses, ground_truths, datasets, finish_reasons, infos)
        try:
            judged = await self._judge(decoded_responses, ground_truths, datasets, queries)
            with answered({key: score for group in judged for key, score in group.verdicts()}):
                scores, metrics = await self._upstream(*arguments, queries=queries)
        # Open Instruct never looks at a reward function that raised, and would wait for its result for ever. So
        # every error goes to where results are read, and stops training there.
        except Exception as error:  # whatever it is: nobody else would look at it
            known = isinstance(error, FlipError)
            reason = in_our_flags(str(error)) if known else f"the reward function failed: {error!r}"
            logger.error("no rewards, so training stops: %s", reason, exc_info=not known)
            return StoppedScores(reason), {}
        return scores, metrics | self._metrics.of([group.judged for group in judged])

    async def _judge(
        self, predictions: list[str], ground_truths: list[Any], datasets: list[Any], queries: list[str] | None
    ) -> list[_Judged]:
        if not self._config.apply_verifiable_reward:
            return []
        requests = _requests(self._config.verifier_functions, predictions, ground_truths, datasets, queries)
        judged = await together(
            r.verifier.judge_group(r.predictions, r.label, r.query, self._guard(r.verifier)) for r in requests
        )
        return [_Judged(*pair) for pair in zip(requests, judged, strict=True)]

    def _guard(self, verifier: JudgeVerifier) -> OutageGuard:
        if verifier.name not in self._guards:
            self._guards[verifier.name] = verifier.outage_guard()
        return self._guards[verifier.name]


@dataclass(frozen=True)
class _Request:
    """Samples of one prompt that one verifier judges."""

    verifier: JudgeVerifier
    label: str
    query: str | None
    predictions: list[str] = field(default_factory=list)


class _Judged(NamedTuple):
    request: _Request
    judged: JudgedGroup

    def verdicts(self) -> Iterator[tuple[VerdictKey, float]]:
        """What the verifier has to answer for each prediction."""
        request = self.request
        for prediction, score in zip(request.predictions, self.judged.scores, strict=True):
            yield (request.verifier.name, request.label, request.query, prediction), score


def _requests(
    verifiers: Mapping[str, Any],
    predictions: list[str],
    ground_truths: list[Any],
    datasets: list[Any],
    queries: list[str] | None,
) -> list[_Request]:
    """The samples by verifier, ground truth and query; a sample may have several labels, or none of ours."""
    requests: dict[tuple[str, str, str | None], _Request] = {}
    known_queries: Sequence[str | None] = queries or [None] * len(predictions)
    samples = zip(predictions, ground_truths, datasets, known_queries, strict=True)
    for prediction, truths, labels, query in samples:
        pairs = [(truths, labels)] if isinstance(labels, str) else zip(truths, labels, strict=True)
        for truth, label in pairs:
            verifier = verifiers.get(label.lower())
            if isinstance(verifier, JudgeVerifier):
                truth = verifier.instruction(truth)
                request = requests.setdefault((verifier.name, truth, query), _Request(verifier, truth, query))
                request.predictions.append(prediction)
    return list(requests.values())
