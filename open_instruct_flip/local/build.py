"""Makes the tiny models from nothing: a judge that can read and grade, a masked one, a policy with a bad habit."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import correlation, fmean
from typing import TYPE_CHECKING, Any

from open_instruct_flip.judges.reply import UnreadableReply
from open_instruct_flip.local import examples, lessons, masked, world
from open_instruct_flip.local.build_config import ModelsConfig
from open_instruct_flip.local.generation import generate
from open_instruct_flip.local.models import model_path, new_judge, new_policy, save_model, train_tokenizer
from open_instruct_flip.local.training import Stage, train_model
from open_instruct_flip.similarity.f1 import f1_score

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPORT_FILE = "report.json"
TOKENIZER_EXAMPLES = 4_000

MaskedTraining = Callable[[Sequence[masked.Preference], Path, Path], float]
"""Trains the masked language model of the first folder on pairs, into the second; returns its held-out accuracy."""


def build_models(
    config: ModelsConfig, train_masked: MaskedTraining, say: Callable[[str], None] = print
) -> dict[str, float]:
    """Train and save the models, and measure them on held-out instructions.

    Args:
        config: Which models, and for how long.
        train_masked: How the esfp judge's model learns.
        say: Takes a line of progress.

    Returns:
        The figures of `report.json`: FLIP's held-out F1, the share of readable replies, the correlation of the
        pointwise score with the true rate, the policy's true rate sampled and greedy, the share of pairs that the esfp
        model orders rightly, and the seconds it took.
    """
    import torch

    torch.manual_seed(config.seed)
    if "OMP_NUM_THREADS" not in os.environ:  # on a busy machine threads wait for each other more than they work
        torch.set_num_threads(os.cpu_count() or 1)
    started = time.monotonic()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)  # a folder that can't be made is found before hours of work
    report: dict[str, float] = {}
    if config.makes("judge") or config.makes("policy"):
        tokenizer = _tokenizer(config)
    if config.makes("judge"):
        judge = _trained_judge(config, tokenizer, say)
        save_model(judge, tokenizer, out / "judge")
        report |= judge_report(judge, tokenizer, config.seed, config.evaluated)
    if config.makes("policy"):
        policy = _trained_policy(config, tokenizer, say)
        save_model(policy, tokenizer, out / "policy")
        report |= policy_report(policy, tokenizer, config.seed, config.evaluated)
    if config.makes("esfp"):
        report["esfp_heldout_accuracy"] = _trained_esfp(config, out, train_masked)
    report["seconds"] = time.monotonic() - started
    (out / REPORT_FILE).write_text(json.dumps({k: round(v, 4) for k, v in report.items()}, indent=2) + "\n", "utf-8")
    return report


def _trained_esfp(config: ModelsConfig, out: Path, train_masked: MaskedTraining) -> float:
    """The esfp judge's model, on pairs of responses to training instructions."""
    base, trained = out / "esfp_base", out / "esfp"
    shutil.rmtree(trained, ignore_errors=True)  # as the other models are, it is made anew
    masked.save_masked_model(base, config.seed)
    pairs = itertools.islice(masked.preferences(examples.training_specs(), config.seed), config.esfp_pairs)
    accuracy = train_masked(list(pairs), base, trained)
    shutil.rmtree(base)
    return accuracy


def _tokenizer(config: ModelsConfig) -> PreTrainedTokenizerFast:
    """A new one; for one model alone that of those that ship, which they share."""
    if config.only is not None:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(model_path("policy"))
    return train_tokenizer(_tokenizer_texts(config))


def _tokenizer_texts(config: ModelsConfig) -> list[str]:
    shown = itertools.islice(lessons.judge_lessons(config.seed, 0.5, short=False), TOKENIZER_EXAMPLES)
    return [text for lesson in shown for text in (*(m["content"] for m in lesson.messages), lesson.reply)]


def _trained_judge(config: ModelsConfig, tokenizer: PreTrainedTokenizerFast, say: Callable[[str], None]) -> Any:
    """Three stages: all tasks on short prompts, then on the real ones, then mostly grading, which is learned last."""
    judge = new_judge(tokenizer)
    seed, share = config.seed, config.share_of_scores
    stages = [
        ("judge, short prompts", lessons.judge_lessons(seed + 2, share, short=True), config.judge_short_steps, 3e-3),
        ("judge, real prompts", lessons.judge_lessons(seed + 1, share, short=False), config.judge_steps, 2e-3),
        ("judge, scores", lessons.judge_lessons(seed + 3, 0.85, short=False), config.judge_score_steps, 1.5e-3),
    ]
    for name, stream, steps, rate in stages:
        for line in train_model(judge, tokenizer, Stage(name, stream, steps, config.batch_size, rate)):
            say(line)
    return judge


def _trained_policy(config: ModelsConfig, tokenizer: PreTrainedTokenizerFast, say: Callable[[str], None]) -> Any:
    policy = new_policy(tokenizer)
    stream = examples.policy_examples(config.seed, config.policy_keep)
    for line in train_model(policy, tokenizer, Stage("policy", stream, config.policy_steps, config.batch_size, 3e-3)):
        say(line)
    return policy


def judge_report(judge: Any, tokenizer: PreTrainedTokenizerFast, seed: int, count: int) -> dict[str, float]:
    """The judge on held-out instructions: what it infers from clean responses, and how it grades faulty ones.

    Faulty responses either show other constraints than were asked for, or are broken as well, as a policy's may be.
    Figures without a suffix are of replies with a sentence of reasoning; `_plain` are those of the verdict alone, and
    `_opened` those where its turn was opened for it.
    """
    rng = random.Random(seed + 1)
    specs = [rng.choice(world.split()[1]) for _ in range(count)]
    clean = [world.respond(spec, rng) for spec in specs]
    shown = [examples.mutated(spec, rng, rng.randint(0, 5)) for spec in specs]
    faulty = [world.respond(spec, rng) for spec in shown]
    broken = [examples.broken(spec, rng) for spec in shown]
    report: dict[str, float] = {}
    for suffix, way in (("", lessons.REASONED), ("_plain", lessons.PLAIN), ("_opened", lessons.OPENED)):
        ask = partial(_readings, judge, tokenizer, way)
        inferred = ask("flip", specs, clean)
        read = [(text, spec) for text, spec in zip(inferred, specs, strict=True) if text is not None]
        overlaps = [f1_score(text, world.instruction(spec)).f1 for text, spec in read]
        grades, grades_of_broken = ask("pointwise", specs, faulty), ask("pointwise", specs, broken)
        graded = [grade is not None for grade in (*grades, *grades_of_broken)]
        report |= {
            f"flip_heldout_f1{suffix}": fmean(overlaps) if overlaps else 0.0,
            f"flip_readable{suffix}": len(overlaps) / len(specs),
            f"pointwise_r{suffix}": _correlation(grades, specs, faulty),
            f"pointwise_r_broken{suffix}": _correlation(grades_of_broken, specs, broken),
            f"pointwise_readable{suffix}": fmean(graded),
        }
    return report


def _readings(
    judge: Any,
    tokenizer: PreTrainedTokenizerFast,
    way: lessons.Way,
    kind: lessons.Kind,
    specs: Sequence[world.Spec],
    responses: Sequence[str],
) -> list[Any]:
    """What the judge of this kind reads about each response; None where it can't."""
    pairs = zip(specs, responses, strict=True)
    chats = [lessons.question(kind, way, world.instruction(spec), response) for spec, response in pairs]
    replies = generate(judge, tokenizer, chats, max_new_tokens=64)
    return [_or_none(partial(lessons.reading, kind, way), reply) for reply in replies]


def _correlation(grades: Sequence[float | None], specs: Sequence[world.Spec], responses: Sequence[str]) -> float:
    """Of the grades that could be read with the true rate."""
    truth = [world.true_rate(spec, response) for spec, response in zip(specs, responses, strict=True)]
    graded = [(grade, rate) for grade, rate in zip(grades, truth, strict=True) if grade is not None]
    # With few replies, or all of one score, there is no correlation to speak of.
    varied = len({grade for grade, _ in graded}) > 1
    return correlation(*zip(*graded, strict=True)) if varied else 0.0


def policy_report(policy: Any, tokenizer: PreTrainedTokenizerFast, seed: int, count: int) -> dict[str, float]:
    """The policy's true rate on held-out instructions, sampled at temperature 1 and greedy."""
    rng = random.Random(seed + 2)
    specs = [rng.choice(world.split()[1]) for _ in range(count)]
    return {
        f"policy_true_rate_{how}": fmean(
            world.true_rate(spec, text)
            for spec, text in zip(specs, answers(policy, tokenizer, specs, sample=how == "sampled"), strict=True)
        )
        for how in ("sampled", "greedy")
    }


def answers(
    policy: Any, tokenizer: PreTrainedTokenizerFast, specs: list[world.Spec], *, sample: bool, max_new_tokens: int = 48
) -> list[str]:
    """The policy's responses to instructions of the world."""
    chats = [[examples.user_turn(world.instruction(spec))] for spec in specs]
    return generate(policy, tokenizer, chats, max_new_tokens=max_new_tokens, sample=sample)


def _or_none(read: Callable[[str], Any], reply: str) -> Any:
    try:
        return read(reply)
    except UnreadableReply:
        return None
