"""The verifiers that Open Instruct calls. Imports Open Instruct: only for processes that train with it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from typing import Any

from open_instruct.ground_truth_utils import LMJudgeVerifier, VerificationResult

from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.failures.outage import OutageGuard, judge_place
from open_instruct_flip.integrations.open_instruct.group import JudgedGroup
from open_instruct_flip.integrations.open_instruct.options import FlipOptions
from open_instruct_flip.integrations.open_instruct.query import KnownInstruction, read_open_query, read_query
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.thinking import final_answer

logger = logging.getLogger(__name__)

VerdictKey = tuple[str, Any, str | None, str]
"""Verifier, ground truth, query and prediction."""

_VERDICTS: ContextVar[dict[VerdictKey, float] | None] = ContextVar("flip_verdicts", default=None)


class JudgeVerifier(LMJudgeVerifier):
    """A judge of this package as a verifier named `general-<judge>`.

    The reward function judges a group at once (`judge_group`), and `async_call` then only hands out its scores.
    Called without that, it judges the one response it is given. Holds configuration only, so that it pickles
    into Ray actors, where nothing is patched; subclasses `LMJudgeVerifier` because Open Instruct instantiates
    every direct subclass of `VerifierFunction` by itself.
    """

    def __init__(self, judge_type: str, options: FlipOptions) -> None:
        super().__init__(judge_type, verifier_config=options)
        self.judge_type = judge_type
        self.options = options

    @cached_property
    def judge(self) -> Judge:
        """The judge; made at first use, since options may suit only the judges that a run really uses."""
        judge = judge_class(self.judge_type)
        return judge.from_config(self.options.judge_config(judge), self.options.client)

    async def async_call(
        self,
        tokenized_prediction: list[int],
        prediction: str,
        label: Any,
        query: str | None = None,
        rollout_state: dict[str, Any] | None = None,
    ) -> VerificationResult:
        """The score of one prediction, in [0, 1].

        Args:
            tokenized_prediction: Unused.
            prediction: The policy's text; its thinking section is not judged.
            label: The ground truth: for FLIP, exactly the instruction.
            query: The prompt as Open Instruct joins it, "role: content" lines.
            rollout_state: Unused.

        Raises:
            FlipError: The judge failed, and there is no group whose mean could stand in.
        """
        verdicts = _VERDICTS.get()
        if verdicts is not None:
            return VerificationResult(score=verdicts[self.name, label, query, prediction])
        group = await self.judge_group([prediction], self.instruction(label), query, self.outage_guard())
        reward = group.rewards[0]
        if reward.score is None:
            raise FlipError(
                f"{self.name} failed: {reward.error}: {reward.detail}; judge {judge_place(self.options.client)}"
            )
        return VerificationResult(score=group.scores[0], reasoning=reward.inferred_instruction or reward.reply)

    def outage_guard(self) -> OutageGuard:
        """A guard for this verifier's groups, to be kept by the process that judges them."""
        return OutageGuard(self.judge, self.options.failures, proven=self.options.training.judge_proven)

    async def judge_group(
        self, predictions: Sequence[str], instruction: str, query: str | None, guard: OutageGuard
    ) -> JudgedGroup:
        """Judge all samples of one prompt; waits for a judge that is down.

        Raises:
            FlipError: The judge can't be used or stays down, or failed where failures are to raise.
        """
        known = self._known_instruction(instruction, query)
        opened = self.options.training.policy_opens_thinking == "yes"
        responses = [answer_part(final_answer(prediction, opened=opened)) for prediction in predictions]
        rewards = await guard.score(known.conversation, responses)
        return JudgedGroup(
            instruction=instruction,
            responses=responses,
            rewards=rewards,
            scores=guard.final_scores(rewards),
            context_matches=known.context_matches,
            # A mixed judge has the option for its parts, and other rewards.
            measure=getattr(self.judge.config, "similarity", None) if self.judge.infers_instruction else None,
        )

    def instruction(self, label: Any) -> str:
        """The ground truth, when it is text; UsageError otherwise."""
        if isinstance(label, str):
            return label
        raise UsageError(
            f"{self.name} needs the instruction as text in the ground_truth column, got {type(label).__name__}; "
            "check the dataset with `flip data validate`"
        )

    def _known_instruction(self, instruction: str, query: str | None) -> KnownInstruction:
        if self.judge.sees_instruction:
            return read_open_query(query, instruction)
        known = read_query(query, instruction, self.judge.target)
        if not known.context_matches:
            _tell_mismatch(self.name)
        return known


@lru_cache(maxsize=1)
def _tell_mismatch(name: str) -> None:
    """Say it once per process; `flip/context_mismatch_rate` counts it."""
    logger.warning(
        "%s: the prompt does not hold the ground truth where the instruction belongs, so it is judged without its "
        "context; see flip/context_mismatch_rate, and check the dataset with `flip data validate`",
        name,
    )


@contextmanager
def answered(verdicts: dict[VerdictKey, float]) -> Iterator[None]:
    """Within this block verifiers hand out these scores instead of asking their judge."""
    token = _VERDICTS.set(verdicts)
    try:
        yield
    finally:
        _VERDICTS.reset(token)


def answer_part(answer: str) -> str:
    """As Open Instruct's own judge: what stands in <answer> tags, else all of it.

    Example:
        >>> answer_part("So: <answer>Vänern</answer>"), answer_part("Close it with </think>.")
        ('Vänern', 'Close it with </think>.')
    """
    found = re.search(r"<answer>(.*?)</answer>", answer, re.DOTALL)
    return found[1].strip() if found else answer
