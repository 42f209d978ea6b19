"""The likelihood judge's ways to read: how fast each is, and how well each of its readings orders LLMBar's pairs.

    python benchmarks/likelihood.py --model FOLDER --llmbar CLONE [--api_base http://127.0.0.1:8001/v1]

Speed, all on the same prompts in one run, as ratios: the in-process route, vLLM's `prompt_logprobs` where a server of
the same model is named (`--served` is its name), and a plain forward pass of the same batches with all prompts whole
and only the last position's logits, which is the ceiling. Tokens are those of the whole prompts, also where a shared
prefix was read once.

Accuracy: share of pairs whose right response has the higher reward, ties half, on the items of even number of each
subset, for each target and normalisation. Backward, the three order two responses to one instruction alike, since the
instruction's length and its likelihood without a response are the same for both: one row stands for them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from report import machine, show, write

from open_instruct_flip.client.chat_tokens import chat_tokens
from open_instruct_flip.client.local_model import Item, batches
from open_instruct_flip.eval.benchmarks.llmbar import LLMBar
from open_instruct_flip.eval.config import EvalConfig
from open_instruct_flip.eval.items import Item as Pair
from open_instruct_flip.eval.selection import select
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.rewards import Reward

READINGS = (("instruction", "pmi"), ("response", "pmi"), ("response", "mean"), ("response", "sum"))


def even_pairs(root: str, per_subset: int | None) -> list[Pair]:
    """The first pairs of even number of each subset."""
    return select(LLMBar().read(root), root, (), EvalConfig(half="even", limit=per_subset))


async def judged(pairs: Sequence[Pair], **options: Any) -> tuple[list[list[Reward]], float]:
    """Each pair's rewards, and the seconds that all took together, without loading the model."""
    async with LikelihoodJudge(**options) as judge:
        await judge.score([{"role": "user", "content": "Say hello."}], ["Hello."])
        started = time.perf_counter()
        rewards = await asyncio.gather(*(judge.score(pair.conversation, pair.responses) for pair in pairs))
        return rewards, time.perf_counter() - started


def tokens_per_s(rewards: Sequence[Sequence[Reward]], elapsed_s: float) -> float:
    """Prompt tokens per second; a judgement that failed counts nothing."""
    return sum(reward.usage.prompt_tokens for of_pair in rewards for reward in of_pair) / elapsed_s


def plain_tokens_per_s(pairs: Sequence[Pair], folder: str) -> float:
    """Tokens per second of the forward pass alone, on the judge's own prompts in the judge's own batches."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = LikelihoodJudge(folder, judge_transport="local").prompt
    items = []
    for pair in pairs:
        for response in pair.responses:
            chat = prompt.messages(conversation="", response=response)
            answer = {"role": "assistant", "content": pair.conversation[-1]["content"].strip()}
            items.append(Item(*chat_tokens(tokenizer, [*chat, answer], {})))
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in batches(items, model.config.vocab_size):
            ids = torch.zeros((len(batch), max(len(item.ids) for item in batch)), dtype=torch.long)
            model(input_ids=ids + 1, use_cache=False, logits_to_keep=1)
    return sum(len(item.ids) for item in items) / (time.perf_counter() - started)


def speed(pairs: Sequence[Pair], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per route. vLLM reads fewer pairs: it takes seconds for each."""
    found = {"plain forward pass": plain_tokens_per_s(pairs, arguments.model)}
    local, elapsed = asyncio.run(judged(pairs, model=arguments.model, judge_transport="local"))
    found["in-process"] = tokens_per_s(local, elapsed)
    if arguments.api_base:
        few = pairs[:: max(len(pairs) // arguments.served_pairs, 1)]
        at = {"model": f"hosted_vllm/{arguments.served}", "api_base": arguments.api_base, "timeout_s": 600.0}
        served, elapsed = asyncio.run(judged(few, **at, judge_transport="direct"))
        found["vLLM prompt_logprobs"] = tokens_per_s(served, elapsed)
        print(f"largest difference of a reward between the two: {_difference(pairs, local, few, served):.4f}")
    return [
        {"route": route, "tokens/s": round(rate), "of the forward pass": rate / found["plain forward pass"]}
        for route, rate in found.items()
    ]


def _difference(
    pairs: Sequence[Pair], local: Sequence[Sequence[Reward]], few: Sequence[Pair], served: Sequence[Sequence[Reward]]
) -> float:
    of_id = {pair.id: rewards for pair, rewards in zip(pairs, local, strict=True)}
    both = [
        (a.score, b.score)
        for pair, ours in zip(few, served, strict=True)
        for a, b in zip(of_id[pair.id], ours, strict=True)
    ]
    return max(abs(a - b) for a, b in both if a is not None and b is not None)


def accuracies(pairs: Sequence[Pair], folder: str) -> list[dict[str, Any]]:
    """One row per reading: right orders in each subset, in all, and the standard error of the latter."""
    rows = []
    for target, how in READINGS:
        options = {"model": folder, "judge_transport": "local", "likelihood_target": target, "normalise": how}
        rewards, _ = asyncio.run(judged(pairs, **options))
        rows.append(
            {
                "target": target,
                "normalise": how,
                **_row(pairs, [_points(*both) for both in zip(pairs, rewards, strict=True)]),
            }
        )
    shorter = [float(_is_first(p, *(-len(r) for r in p.responses))) for p in pairs]
    return [*rows, {"target": "(the shorter response)", "normalise": "", **_row(pairs, shorter)}]


def _points(pair: Pair, rewards: Sequence[Reward]) -> float | None:
    one, other = (reward.score for reward in rewards)
    return None if one is None or other is None else _is_first(pair, one, other)


def _is_first(pair: Pair, one: float, other: float) -> float:
    if one == other:
        return 0.5
    return float((one > other) == pair.right[0])


def _row(pairs: Sequence[Pair], points: Sequence[float | None]) -> dict[str, Any]:
    known = [(pair.subset, point) for pair, point in zip(pairs, points, strict=True) if point is not None]
    of_subset = {name: fmean(point for subset, point in known if subset == name) for name, _ in known}
    overall = fmean(point for _, point in known)
    error = math.sqrt(overall * (1 - overall) / len(known))
    return {**of_subset, "all": overall, "s.e.": error, "failed": len(points) - len(known)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Folder of the model")
    parser.add_argument("--llmbar", required=True, help="Copy of the LLMBar repository")
    parser.add_argument("--api_base", help="URL of a vLLM server of the same model")
    parser.add_argument("--served", default="judge", help="The model's name there")
    parser.add_argument("--served_pairs", type=int, default=6, help="About how many pairs that server is asked about")
    parser.add_argument("--speed_pairs", type=int, default=4, help="Pairs of each subset for the speeds")
    parser.add_argument("--pairs", type=int, help="Pairs of each subset for the accuracies; all of even number if left")
    parser.add_argument("--out", help="JSON file of the results")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "model": arguments.model.rpartition("/")[2]}
    results["speed"] = speed(even_pairs(arguments.llmbar, arguments.speed_pairs), arguments)
    show("Speed", results["speed"])
    results["accuracy"] = accuracies(even_pairs(arguments.llmbar, arguments.pairs), arguments.model)
    show("Accuracy on the even items of LLMBar", results["accuracy"])
    if arguments.out:
        write(arguments.out, results)


if __name__ == "__main__":
    main()
