"""`flip eval attacks`: what a judge does when the responses talk to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.eval_judging import judged, show, show_costs
from open_instruct_flip.commands.eval_options import read_benchmark, with_benchmark, with_judges, with_judging, with_out
from open_instruct_flip.eval.config import EvalConfig


@click.command()
@with_benchmark
@with_judges
@click.option("--attack", "names", multiple=True, help="Attack; may be repeated. All if not given.")
@with_out("runs/eval/BENCHMARK-attacks")
@with_judging
def attacks(
    name: str,
    data: str | None,
    judges: tuple[str, ...],
    names: tuple[str, ...],
    subsets: tuple[str, ...],
    out: Path | None,
    config: EvalConfig,
    clients: Sequence[ClientConfig],
    judge_options: Mapping[str, Any],
) -> int:
    """Judge a benchmark's responses as they are, and again with attacks on the judge.

    DIR gets judgements.jsonl, whose column `attack` names the attack, and attacks.json. With --copy_guard penalize
    the effects are shown without the guard and with it. The same command goes on where an interrupted one stopped.
    """
    from open_instruct_flip.eval.attacks.run import attack_passes, effects_under, guard_while_judging, write_effects
    from open_instruct_flip.eval.attacks.texts import attack_texts, find_attacks
    from open_instruct_flip.eval.contenders import find_contenders
    from open_instruct_flip.eval.run import identified
    from open_instruct_flip.eval.selection import digest
    from open_instruct_flip.eval.tables import effect_table

    chosen = find_attacks(names)
    guard = judge_options.get("copy_guard", "off")
    contenders = find_contenders(judges, {**judge_options, "copy_guard": guard_while_judging(guard)}, clients)
    _, items = read_benchmark(name, data, subsets, config)
    passes = attack_passes(items, contenders, chosen)
    if config.dry_run:
        return show_costs(passes, config)
    passes, identities = identified(passes)
    settings = {
        "benchmark": name,
        "items": digest(items),
        "runs": config.runs,
        "attacks": attack_texts(),
        "judges": identities,
    }
    folder = out or Path("runs") / "eval" / f"{name}-attacks"
    with judged(name, passes, settings, folder, config) as finished:
        found = effects_under(finished, guard, config.bootstrap_seed)
        show([effect_table(found)], write_effects(folder, found))
    return 0
