"""One of the two processes that `torchrun` starts for `test_trl_ranks.py`: LISTWISE_URL REFUSING_URL OUT.

Trains a step against two judges, then one against a judge that refuses one group's request; notes what it sees.
"""

import json
import os
import sys
from pathlib import Path

import tiny_grpo

from open_instruct_flip import FlipJudge
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.judges.listwise import ListwiseJudge

MODEL = "hosted_vllm/judge"
DIRECT = {"judge_transport": "direct", "reply_contract": "free"}


class Noted:
    """A reward function that notes what it was given and what it gave."""

    def __init__(self, function, notes):
        self.__name__ = function.__name__
        self._function, self._notes = function, notes

    async def __call__(self, **given):
        rewards = await self._function(**given)
        self._notes[self.__name__] = {"rewards": rewards} | {k: given[k] for k in ("prompts", "completions")}
        return rewards


url, refusing_url, out = sys.argv[1:]
seen = Path(out) / f"rank{os.environ['RANK']}.json"
notes = {}
judges = [ListwiseJudge(MODEL, url, **DIRECT), FlipJudge(MODEL, url, **DIRECT)]
# Six completions on each rank, groups of four: the second group lies on both.
options = {"per_device_train_batch_size": 6}
trainer = tiny_grpo.trainer([Noted(flip_reward(judge), notes) for judge in judges], Path(out), **options)
trainer.train()
if trainer.accelerator.is_main_process:
    notes["logged"] = tiny_grpo.logged(trainer)
seen.write_text(json.dumps(notes))

try:
    tiny_grpo.trainer([flip_reward(ListwiseJudge(MODEL, refusing_url, **DIRECT))], Path(out), **options).train()
except Exception as error:  # of whatever kind: the test reads which it was
    seen.write_text(json.dumps(notes | {"error": f"{type(error).__name__}: {error}"}))
    raise
