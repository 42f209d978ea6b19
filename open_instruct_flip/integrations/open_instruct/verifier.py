"""The verifiers that Open Instruct calls. Imports Open Instruct: only for processes that train with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from typing import Any

from open_instruct.ground_truth_utils import LMJudgeVerifier, VerificationResult
from open_instruct.utils import extract_final_answer

from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.integrations.open_instruct.group import JudgedGroup, copy_rates, final_scores, shown_to_judge
from open_instruct_flip.integrations.open_instruct.options import FlipOptions
from open_instruct_flip.integrations.open_instruct.outage import OutageGuard
from open_instruct_flip.integrations.open_instruct.query import KnownInstruction, read_open_query, read_query
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import Reward

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

    @property
    def endpoints(self) -> str:
        """The judge model and where it is asked, for messages."""
        urls = ", ".join(str(url or "its provider") for url in self.options.client.endpoints())
        return f"{self.options.client.llm_judge_model} at {urls}"

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
            raise FlipError(f"{self.name} failed: {reward.error}: {reward.detail}; judge {self.endpoints}")
        return VerificationResult(score=group.scores[0], reasoning=reward.inferred_instruction or reward.reply)

    def outage_guard(self) -> OutageGuard:
        """A guard for this verifier's groups, to be kept by the process that judges them."""
        return OutageGuard(self.options.training, self.endpoints)

    async def judge_group(
        self, predictions: Sequence[str], instruction: str, query: str | None, guard: OutageGuard
    ) -> JudgedGroup:
        """Judge all samples of one prompt; waits for a judge that is down.

        Raises:
            FlipError: The judge can't be used or stays down, or failed under `--flip_on_failure raise`.
        """
        training = self.options.training
        known = self._known_instruction(instruction, query)
        responses = [final_answer(prediction) for prediction in predictions]
        shown = [shown_to_judge(response, instruction, training.copy_guard) for response in responses]

        async def ask(numbers: Sequence[int]) -> list[Reward]:
            if not self.judge.compares_group:
                return await self.judge.score(known.conversation, [shown[i] for i in numbers])
            rewards = await self.judge.score(known.conversation, shown)
            return [rewards[i] for i in numbers]

        rewards = await guard.judged(ask, len(shown))
        rates = copy_rates(responses, instruction)
        scores = final_scores(
            rewards,
            rates,
            guard=training.copy_guard,
            on_failure=training.on_failure,
            recent_mean=guard.recent_mean,
        )
        guard.note_scores([s for s, reward in zip(scores, rewards, strict=True) if reward.score is not None])
        return JudgedGroup(
            instruction=instruction,
            responses=responses,
            rewards=rewards,
            scores=scores,
            copy_rates=rates,
            context_matches=known.context_matches,
            measure=getattr(self.judge.config, "similarity", None),
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


def final_answer(prediction: str) -> str:
    """What the policy answers, without its thinking: the text that a judge gets.

    As Open Instruct's own judge: the part in <answer> tags, else what follows </think>, else all of it. Beyond
    that, thinking that was begun with <think> but never ended is no answer.
    """
    return extract_final_answer(prediction).partition("<think>")[0]
