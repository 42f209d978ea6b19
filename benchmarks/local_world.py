"""The local world's judges against its true rate: which of two responses keeps more of its instruction's constraints?

    python benchmarks/local_world.py --esfp_model runs/local-models/esfp

Pairs of responses to held-out instructions, as the esfp judge's model learns them from others. "rightly ordered" counts
a draw as half, with the standard error of the pairs; where a judge failed, the pair is left out and counted. Beside
each judge stand the trivial ones, and the pairs whose better response is the longer and the shorter one. The judge that
ships knows the backward prompt of `likelihood`, the policy that ships answers and so reads forward.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from report import machine, show, write

from open_instruct_flip.eval.baselines import SCORES
from open_instruct_flip.eval.items import Item
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.local import examples, masked, world
from open_instruct_flip.local.models import TRAINED_FOR, model_path
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer

Scores = tuple[float | None, float | None]
"""Of the better and of the other response."""


def row(name: str, pairs: Sequence[masked.Preference], scores: Sequence[Scores]) -> dict[str, Any]:
    """A judge's line of the table."""
    right: dict[str, list[float]] = {"all": [], "longer": [], "shorter": []}
    for pair, (better, other) in zip(pairs, scores, strict=True):
        if better is None or other is None:
            continue
        ordered = 0.5 if better == other else float(better > other)
        right["all"].append(ordered)
        right["longer" if len(pair.chosen) > len(pair.rejected) else "shorter"].append(ordered)
    share = fmean(right["all"])
    return {
        "judge": name,
        "rightly ordered": f"{share:.3f} ± {sqrt(share * (1 - share) / len(right['all'])):.3f}",
        "right is longer": fmean(right["longer"]),
        "right is shorter": fmean(right["shorter"]),
        "failed pairs": len(pairs) - len(right["all"]),
    }


def trivial(name: str, pair: masked.Preference) -> Scores:
    """A trivial judge's scores."""
    item = Item("", "", (examples.user_turn(pair.instruction),), (pair.chosen, pair.rejected), (True, False))
    return SCORES[name](pair.chosen, item), SCORES[name](pair.rejected, item)


async def judged(judge: Judge, pairs: Sequence[masked.Preference]) -> list[Scores]:
    """A judge's scores of all pairs."""
    async with judge:
        rewards = await asyncio.gather(
            *(judge.score([examples.user_turn(pair.instruction)], [pair.chosen, pair.rejected]) for pair in pairs)
        )
    return [(better.score, other.score) for better, other in rewards]


@contextmanager
def judges(judge_model: Path, esfp_model: Path) -> Iterator[dict[str, Judge]]:
    """FLIP and pointwise on a server, likelihood and esfp in this process.

    Likelihood reads in both directions, by the model that learned to infer and by the one that learned to answer.
    """
    served = {"max_tokens": 96, "max_concurrency": 16, **TRAINED_FOR}
    made = {"esfp": judge_class("esfp")(esfp_model=str(esfp_model))}
    for name, model in {"judge": judge_model, "policy": model_path("policy")}.items():
        for target in ("instruction", "response"):
            read = judge_class("likelihood")(str(model), judge_transport="local", likelihood_target=target)
            made[f"likelihood of the {target}, by the {name}"] = read
    settings = ServerConfig(port=0, backend="transformers", device="cpu", max_model_len=1024, start_timeout_s=600.0)
    with JudgeServer(judge_model, settings) as server:
        at = (server.llm_judge_model, server.api_base)
        yield {name: judge_class(name)(*at, **served) for name in ("flip", "pointwise")} | made


def main() -> None:
    """Judge the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge_model", type=Path, default=model_path("judge"))
    parser.add_argument("--esfp_model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args()
    pairs = list(islice(masked.preferences(world.split()[1], seed=1), arguments.pairs))
    rows = [row(name, pairs, [trivial(name, pair) for pair in pairs]) for name in SCORES]
    with judges(arguments.judge_model, arguments.esfp_model) as made:
        rows += [row(name, pairs, asyncio.run(judged(judge, pairs))) for name, judge in made.items()]
    show(f"{len(pairs)} pairs", rows)
    if arguments.out:
        write(arguments.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
