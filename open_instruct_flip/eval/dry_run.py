"""What a run of `flip eval` would cost, before it costs anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from open_instruct_flip.eval.run import Pass, fault_of
from open_instruct_flip.judging.counting import counted
from open_instruct_flip.rewards import Usage


async def count_requests(passes: Iterable[Pass], runs: int) -> dict[str, Usage]:
    """Requests that each judge sends, by its label, where each is answered at once, and their tokens.

    Prompt tokens are estimated from characters; completion tokens are the most that the replies may have.
    """
    totals: defaultdict[str, Usage] = defaultdict(Usage)
    for one in passes:
        judge, client = counted(one.contender.judge)
        for item in one.items:
            if fault_of(item, judge) is None:
                await judge.score(item.conversation, item.responses)
        for _ in range(one.contender.num_runs(runs)):
            totals[one.contender.label] += client.usage
    return dict(totals)
