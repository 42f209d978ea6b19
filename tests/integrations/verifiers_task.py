"""A task of verifiers whose reward is a judge's, scored as verifiers does."""

from __future__ import annotations

from typing import Any

from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.integrations.verifiers import flip_reward
from open_instruct_flip.judges.base import Judge


async def scored(vf: Any, judge: Judge, reply: str, **data: Any) -> Any:
    """The trace of a rollout that ended with `reply`."""
    from verifiers.v1.trace import TraceTask

    class Chat(vf.Task):
        flip = vf.reward(flip_reward(judge, failures=FailureConfig(outage_timeout_s=0.1)))

    task = Chat(vf.TaskData(idx=0, **data))
    traced = TraceTask(type="Chat", data=task.data, key=task.key, hash=task.hash)
    trace = vf.Trace.model_construct(task=traced, rewards={}, metrics={}, nodes=[], root_reply=reply)
    await task.score(trace)
    return trace
