"""A judge as a reward of verifiers' tasks (0.4 and later, whose rewards are methods of a task).

class Chat(vf.Task):
    flip = vf.reward(flip_reward(FlipJudge("hosted_vllm/Qwen/Qwen3-4B", "http://127.0.0.1:8001/v1")))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from open_instruct_flip.conversation import Message, with_instruction
from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.failures.copies import CopyWatch
from open_instruct_flip.failures.outage import OutageGuard
from open_instruct_flip.judges.base import Judge


def flip_reward(
    judge: Judge, *, name: str | None = None, failures: FailureConfig | None = None, ground_truth: str | None = None
) -> Callable[..., Awaitable[float]]:
    """A method for `vf.reward`: the score of a rollout's last reply, in [0, 1].

    verifiers leaves out a rollout whose scoring raises, so a failed judgement raises and no stand-in is made.
    A warning comes once the policy repeats its instructions.

    Args:
        judge: A judge that does not compare responses: verifiers scores each rollout by itself.
        name: Name of the reward, else the judge's.
        failures: How long to wait for a judge that is down.
        ground_truth: Field of the task's data with the exact instruction; else the prompt's last user turn is it.

    Raises:
        UsageError: The judge compares responses.
    """
    if judge.compares_group:
        raise UsageError(f"the {judge.name} judge compares responses, and verifiers scores rollouts one by one")
    # Made at the first rollout, in the process that scores.
    guard = cache(lambda: OutageGuard(judge, failures or FailureConfig()))
    copying = CopyWatch()

    async def reward(self: Any, task: Any, trace: Any) -> float:
        instruction = getattr(task, ground_truth) if ground_truth else None
        conversation = with_instruction(_turns(task), instruction, judge.target)
        (verdict,) = await guard().score(conversation, [trace.last_reply])
        copying.note([verdict])
        if verdict.score is None:
            raise FlipError(f"the {judge.name} judge failed: {verdict.error}: {verdict.detail}")
        return verdict.score

    reward.__name__ = name or judge.name
    return reward


def _turns(task: Any) -> list[Message]:
    """A task's prompt as a conversation."""
    system: list[Message] = [{"role": "system", "content": task.system_prompt}] if task.system_prompt else []
    if isinstance(task.prompt, str):
        return [*system, {"role": "user", "content": task.prompt}]
    turns = list(task.prompt or ())
    if not all(isinstance(turn.content, str) for turn in turns):
        raise UsageError(f"task {task.idx}: a turn of its prompt is no text, which is all that a judge reads")
    messages: list[Message] = [{"role": turn.role, "content": turn.content} for turn in turns]
    return [*system, *messages]
