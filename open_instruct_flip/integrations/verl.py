"""A judge as verl's reward function.

reward.custom_reward_function.path=pkg://open_instruct_flip.integrations.verl
reward.custom_reward_function.name=compute_score
+reward.custom_reward_function.reward_kwargs.model=hosted_vllm/Qwen/Qwen3-4B
+reward.custom_reward_function.reward_kwargs.api_base=http://127.0.0.1:8001/v1
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from weakref import WeakKeyDictionary

from open_instruct_flip.conversation import Message, Target, with_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.singles import SinglesGuard
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import REPLY_FAILURES, REQUEST_FAILURES, Reward
from open_instruct_flip.thinking import final_answer

CONVERSATION = "messages"
"""Key of `extra_info` that may hold the whole conversation."""


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    judge: str = "flip",
    thinking_opened: bool = False,
    **options: Any,
) -> dict[str, float | str]:
    """One response's reward, with the same keys whatever happened.

    Args:
        data_source: Unused.
        solution_str: The response, decoded without special tokens.
        ground_truth: The exact instruction.
        extra_info: The row's further columns; `messages` in it may hold the conversation, for its context.
        judge: Name of a judge that does not compare responses.
        thinking_opened: Responses start inside a thinking section, which the chat template had opened.
        **options: `model`, `api_base`, and any option of the judge, its client and `FailureConfig` by name.

    Returns:
        `score` in [0, 1], stand-ins included; `judge_failure`, `request_failure` and `parse_failure` (0.0 or 1.0);
        `copy_rate`, the share of the instruction's runs of 5 words that the response repeats; `overlap`, the token F1
        of the two; `precision` and `recall`; NaN where there is none of these; `inferred_instruction`, "" where there
        is none.

    Raises:
        UsageError: An option is unknown, the judge compares responses, or the input can't be judged.
        JudgeOutageError: The judge stayed down for longer than `outage_timeout_s`. verl then stops.
    """
    if not isinstance(ground_truth, str):
        raise UsageError(
            f"reward_model.ground_truth must hold the instruction as text, got {type(ground_truth).__name__}"
        )
    guard, target = _guard(judge, options)
    turns: list[Message] = list((extra_info or {}).get(CONVERSATION) or ())
    conversation = with_instruction(turns, ground_truth, target)
    score, reward = await guard.score(conversation, final_answer(solution_str, opened=thinking_opened))
    return {"score": score, **_details(reward)}


def _details(reward: Reward) -> dict[str, float | str]:
    return {
        "judge_failure": float(reward.error is not None),
        "request_failure": float(reward.error in REQUEST_FAILURES),
        "parse_failure": float(reward.error in REPLY_FAILURES),
        "copy_rate": _or_nan(reward.copy_rate),
        "overlap": _or_nan(reward.overlap),
        "precision": _or_nan(reward.precision),
        "recall": _or_nan(reward.recall),
        "inferred_instruction": reward.inferred_instruction or "",
    }


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


_guards: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, tuple[SinglesGuard, Target]]] = WeakKeyDictionary()
"""verl hands over a function and its options with every response; what was seen of the judge is kept between them."""


def _guard(judge: str, options: Mapping[str, Any]) -> tuple[SinglesGuard, Target]:
    """The guard of this event loop for these options, and the judge's target."""
    known = _guards.setdefault(asyncio.get_running_loop(), {})
    key = repr((judge, sorted(options.items())))
    if key not in known:
        made, failures = _configured(judge, options)
        known[key] = SinglesGuard(made, failures), made.target
    return known[key]


def _configured(judge: str, options: Mapping[str, Any]) -> tuple[Judge, FailureConfig]:
    of_failures = {f.name for f in fields(FailureConfig)}
    failures = {name: value for name, value in options.items() if name in of_failures}
    others = {name: value for name, value in options.items() if name not in of_failures}
    return judge_class(judge)(**others), FailureConfig(**failures)
