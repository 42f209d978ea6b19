"""Wordings of a judge's prompt on LLMBar, against a running judge server: chosen on the even items, told on the odd.

    python benchmarks/prompts.py --judge flip --llmbar LLMBar --half even --api_base http://127.0.0.1:8001/v1 \
        --llm_judge_model hosted_vllm/judge --reply_contract prefill

Each folder of `benchmarks/wordings/<judge>` is a wording; `--wording NAME=FOLDER` adds one, such as the authors' own
files. "order" is the share of pairs whose right response has the higher reward, ties half, with its standard error;
"gap" is the mean difference of the two rewards in units of its own standard error. How well a judge reads shows on far
fewer pairs than how it orders: "nearest" tells how often what it infers from a right response is nearer, by token F1,
to the own instruction than to those of 15 other items; "own F1" and "others" are the two means. For judges that infer
nothing `--wrong swapped` sets each right response against the right response of another item: "order" then tells how
often a judge sees at all which of the two was written for the instruction.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from report import machine, show, write

from open_instruct_flip.eval.baselines import SCORES, baseline_scores
from open_instruct_flip.eval.benchmarks.llmbar import FOLDERS, LLMBar
from open_instruct_flip.eval.config import EvalConfig
from open_instruct_flip.eval.items import Item
from open_instruct_flip.eval.length import length_ratio
from open_instruct_flip.eval.selection import select
from open_instruct_flip.judge_training.config import LINE_UP
from open_instruct_flip.judge_training.measures import credit_of_own
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import Reward
from open_instruct_flip.similarity.f1 import f1_score

WORDINGS = Path(__file__).parent / "wordings"


@dataclass(frozen=True)
class Judged:
    """A pair with the rewards of its right and its wrong response."""

    item: Item
    right: Reward
    wrong: Reward

    @property
    def gap(self) -> float | None:
        """How much higher the right response's reward is, or None where either has none."""
        if self.right.score is None or self.wrong.score is None:
            return None
        return self.right.score - self.wrong.score


async def judged(judge: Judge, items: Sequence[Item]) -> list[Judged]:
    """Every pair's rewards."""

    async def one(item: Item) -> Judged:
        rewards = await judge.score(item.conversation, item.responses)
        best = item.right.index(True)
        return Judged(item, rewards[best], rewards[1 - best])

    async with judge:
        return list(await asyncio.gather(*map(one, items)))


def ordered(gap: float) -> float:
    """What a pair counts: 1 in the right order, 0 in the wrong one, half for a tie."""
    return 0.5 if gap == 0 else float(gap > 0)


def of_gaps(gaps: Sequence[float]) -> dict[str, Any]:
    """Order and gap of pairs that could be judged, with the standard error of the order."""
    orders = [ordered(gap) for gap in gaps]
    error = stdev(gaps) / math.sqrt(len(gaps))
    return {
        "order": round(fmean(orders), 3),
        "+-": round(stdev(orders) / math.sqrt(len(orders)), 3),
        "gap": round(fmean(gaps) / error, 2) if error else 0.0,
    }


def figures(pairs: Sequence[Judged], seconds: float) -> dict[str, Any]:
    """What is shown of one wording."""
    rewards = [reward for pair in pairs for reward in (pair.right, pair.wrong)]
    gaps = [pair.gap for pair in pairs if pair.gap is not None]
    longer = [pair.gap for pair in pairs if pair.gap is not None and length_ratio(pair.item) > 0]
    return {
        **of_gaps(gaps),
        **reading([pair.item for pair in pairs], [pair.right.inferred_instruction for pair in pairs]),
        "right longer": round(fmean(map(ordered, longer)), 3) if longer else None,
        "reward": round(fmean(reward.score for reward in rewards if reward.score is not None), 3),
        "asked again": round(fmean(reward.usage.requests > 1 for reward in rewards), 4),
        "unreadable": round(fmean(reward.score is None for reward in rewards), 4),
        "tokens": round(fmean(reward.usage.completion_tokens for reward in rewards), 1),
        "seconds": round(seconds),
    }


def reading(items: Sequence[Item], inferred: Sequence[str | None]) -> dict[str, Any]:
    """How near the inferences from right responses are to their own instructions; nothing where there are none."""
    if len(items) < LINE_UP or not any(inferred):
        return {}
    own, others, nearest = [], [], []
    for number, (item, text) in enumerate(zip(items, inferred, strict=True)):
        strangers = [other.instruction for other in items if other.instruction != item.instruction]
        line_up = [item.instruction, *random.Random(number).sample(strangers, LINE_UP - 1)]
        mine, *theirs = (f1_score(text or "", instruction).f1 for instruction in line_up)
        own.append(mine)
        others.append(fmean(theirs))
        nearest.append(credit_of_own([mine, *theirs]))
    return {
        **_with_error("own F1", own),
        "others": round(fmean(others), 3),
        **_with_error("nearest", nearest),
    }


def _with_error(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: round(fmean(values), 3), f"{name} +-": round(stdev(values) / math.sqrt(len(values)), 3)}


def with_swapped(items: Sequence[Item]) -> list[Item]:
    """Each right response against the right response of another item, drawn without one that is its own."""
    right = [item.responses[item.right.index(True)] for item in items]
    # A cyclic shift of a shuffled order leaves none in its place.
    order = random.Random(0).sample(range(len(items)), len(items))
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [replace(item, responses=(right[k], right[other[k]]), right=(True, False)) for k, item in enumerate(items)]


def trivial(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What needs no judge."""
    rows = []
    for name in SCORES:
        of_items = zip(items, baseline_scores(name, items), strict=True)
        gaps = [scores[item.right.index(True)] - scores[item.right.index(False)] for item, scores in of_items]
        # A judge that repeats the response as its inference.
        as_inferred = [item.responses[item.right.index(True)] if name == "token_f1" else None for item in items]
        rows.append({"wording": f"({name})", **of_gaps(gaps), **reading(items, as_inferred)})
    return rows


async def compare(args: argparse.Namespace) -> None:
    """Judge every item under every wording, and show and write what came of it."""
    items = select(LLMBar().read(args.llmbar), args.llmbar, (), EvalConfig(half=args.half, limit=args.per_subset))
    if args.wrong == "swapped":
        items = with_swapped(items)
    folders = {path.name: str(path) for path in sorted((WORDINGS / args.judge).iterdir())}
    folders |= dict(pair.split("=", 1) for pair in args.wording)
    rows, by_subset = [], {}
    for name, folder in folders.items():
        if args.only and name not in args.only:
            continue
        judge = judge_class(args.judge)(
            args.llm_judge_model,
            args.api_base,
            prompt_dir=folder,
            reply_contract=args.reply_contract,
            reasoning=args.reasoning,
            max_tokens=args.max_tokens,
            max_concurrency=32,
            timeout_s=600,
        )
        started = time.perf_counter()
        pairs = await judged(judge, items)
        rows.append({"wording": name, **figures(pairs, time.perf_counter() - started)})
        print(rows[-1], flush=True)
        by_subset[name] = {
            subset: figures([pair for pair in pairs if pair.item.subset == subset], 0.0) for subset in FOLDERS
        }
    show(f"{args.judge}, {len(items)} {args.half} pairs, {args.llm_judge_model}, {args.reply_contract}", rows)
    show("needs no judge", trivial(items))
    if args.out:
        write(args.out, {**machine(), "judge": args.judge, "half": args.half, "rows": rows, "subsets": by_subset})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="flip")
    parser.add_argument("--llmbar", required=True, help="A copy of the LLMBar repository")
    parser.add_argument("--half", choices=("even", "odd"), default="even")
    parser.add_argument("--per_subset", type=int, help="Items of each subset; all if left")
    parser.add_argument("--wrong", choices=("own", "swapped"), default="own", help="What the right response meets")
    parser.add_argument("--api_base", required=True)
    parser.add_argument("--llm_judge_model", default="hosted_vllm/judge")
    parser.add_argument("--reply_contract", default="prefill")
    parser.add_argument("--reasoning", action="store_true")
    parser.add_argument("--max_tokens", type=int, default=128)
    parser.add_argument("--wording", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--out")
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
