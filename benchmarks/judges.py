"""Every judge on the same groups, against a running judge server: do rewards fall as constraints are broken?

    python benchmarks/judges.py --api_base http://127.0.0.1:8001/v1 --llm_judge_model hosted_vllm/judge

Groups come from the held-out instructions of the local world: four responses each, in which 0, 1, 2 and 5 constraints
were drawn anew. "order" is the share of pairs that the rewards put in the order of the true rates, ties half.
`likelihood` needs vLLM, and so does the JSON schema that pairwise and listwise ask for: the local judge was trained for
FLIP and pointwise alone, so that the other two show that they work, and not how well.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from report import machine, show, write

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.local import examples, world
from open_instruct_flip.rewards import Reward

CHANGES = (0, 1, 2, 5)
SETUPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("flip", {}),
    ("flip", {"similarity": "chrf"}),
    ("flip", {"similarity": "bleu"}),
    ("flip", {"num_samples": 4, "temperature": 0.7}),
    ("flip", {"reasoning": False}),
    ("pointwise", {}),
    ("pairwise", {"reply_contract": "schema"}),
    ("pairwise", {"reply_contract": "schema", "max_pairs": 3}),
    ("listwise", {"reply_contract": "schema"}),
    ("likelihood", {}),
)


@dataclass(frozen=True)
class Group:
    """An instruction, responses to it, and how well each really follows it."""

    conversation: list[Message]
    responses: list[str]
    true_rates: list[float]


def make_groups(count: int, seed: int = 7) -> list[Group]:
    """Groups of four responses with more and more constraints broken."""
    rng = random.Random(seed)
    groups = []
    for spec in world.split()[1][:count]:
        responses = [world.respond(examples.mutated(spec, rng, changes), rng) for changes in CHANGES]
        rates = [world.true_rate(spec, response) for response in responses]
        groups.append(Group([examples.user_turn(world.instruction(spec))], responses, rates))
    return groups


def order_share(rewards: Sequence[Reward], rates: Sequence[float]) -> list[float]:
    """For each pair with different true rates: 1.0 where the rewards agree, 0.5 for a tie, 0.0 where they differ."""
    agreed = []
    for (first, first_rate), (second, second_rate) in combinations(zip(rewards, rates, strict=True), 2):
        if first.score is not None and second.score is not None and first_rate != second_rate:
            product = (first.score - second.score) * (first_rate - second_rate)
            agreed.append(1.0 if product > 0 else 0.5 if product == 0 else 0.0)
    return agreed


async def measure(
    name: str, options: dict[str, Any], groups: list[Group], arguments: argparse.Namespace
) -> dict[str, Any]:
    """One row of the table."""
    limits = {"max_tokens": 128, "max_concurrency": arguments.max_concurrency}
    async with judge_class(name)(arguments.llm_judge_model, arguments.api_base, **limits, **options) as judge:
        judged = await asyncio.gather(*(judge.score(g.conversation, g.responses) for g in groups))
    rewards = [reward for group in judged for reward in group]
    by_change = [[group[i].score for group in judged if group[i].score is not None] for i in range(len(CHANGES))]
    agreed = [a for got, group in zip(judged, groups, strict=True) for a in order_share(got, group.true_rates)]
    return {
        "judge": " ".join([name, *(f"{key}={value}" for key, value in options.items())]),
        **{f"{c} changed": fmean(scores) if scores else None for c, scores in zip(CHANGES, by_change, strict=True)},
        "order": fmean(agreed) if agreed else None,
        "failures": sum(reward.score is None for reward in rewards),
        "requests": sum(reward.usage.requests for reward in rewards),
        "prompt tokens": sum(reward.usage.prompt_tokens for reward in rewards),
        "reply tokens": sum(reward.usage.completion_tokens for reward in rewards),
    }


def main() -> None:
    """Measure every judge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--api_base", required=True)
    parser.add_argument("--llm_judge_model", default="hosted_vllm/judge")
    parser.add_argument("--groups", type=int, default=25)
    parser.add_argument("--max_concurrency", type=int, default=16)
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args()
    groups = make_groups(arguments.groups)

    async def all_rows() -> list[dict[str, Any]]:
        return [await measure(name, options, groups, arguments) for name, options in SETUPS]

    rows = asyncio.run(all_rows())
    show(f"{arguments.groups} groups of {len(CHANGES)}", rows)
    if arguments.out:
        write(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
