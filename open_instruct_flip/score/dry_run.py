"""What scoring a file would cost, before it costs anything."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judging.counting import counted
from open_instruct_flip.rewards import Usage
from open_instruct_flip.rows.files import RowSource
from open_instruct_flip.score.config import ScoreConfig
from open_instruct_flip.score.groups import COLUMNS, read_groups
from open_instruct_flip.score.run import fault_for, judged_responses


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a run over a whole input takes.

    Attributes:
        num_responses: Responses that would be judged.
        num_bad: Others, which no judge can be asked about.
        usage: Requests where each is answered at once, prompt tokens about, reply tokens at most.
    """

    num_responses: int
    num_bad: int
    usage: Usage


async def count_requests(source: RowSource, judge: Judge, config: ScoreConfig) -> Ahead:
    """Count what scoring every response of `source` takes, whatever an earlier run has left of it."""
    counting, client = counted(judge)
    num_responses = num_bad = 0
    for group in islice(read_groups(source.rows(COLUMNS)), config.limit):
        if fault_for(group, judge):
            num_bad += group.num_outputs
        else:
            num_responses += group.num_outputs
            await counting.score(group.conversation, judged_responses(group, config))
    return Ahead(num_responses, num_bad, client.usage)
