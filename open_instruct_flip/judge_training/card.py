"""The model card of a trained judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.judge_training.measures import MEASURES

REASONS = {
    "bad_row": "fit no known shape",
    "no_response": "no response",
    "no_system_prompt": "no system prompt",
    "disagreed": "several inferences of its instruction agree too little",
    "unscorable": "an instruction without a word",
    "contaminated": "shares a run of words with a benchmark",
    "copied": "the response holds its instruction word for word",
    "duplicate": "repeats another row's instruction",
    "held_out": "has an instruction that is measured on",
    "too_long": "too long, also with the response's middle cut out",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Attributes:
        before: The base's measures on the held-out pairs, with their standard errors as `<name>_se`.
        after: Those of the checkpoint that was kept.
        change: From the one to the other, pair by pair, with its standard errors; empty where that is not known.
        baselines: What needs no model, by its name.
        best_step: The step of that checkpoint.
        num_steps: Steps that were trained.
        num_examples: Pairs that were trained on, negatives among them.
        num_heldout: Pairs that were measured on.
        num_rows: Rows of the data.
        dropped: How many were left out, by reason.
        inferred_by: Models that have inferred instructions of the data.
        heldout_inferred_by: Models that have inferred instructions which are measured on.
        precision: Of the products.
        peak_memory_bytes: The most memory that this process, or the GPU, held.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    change: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    best_step: int
    num_steps: int
    num_examples: int
    num_heldout: int
    num_rows: int
    dropped: Mapping[str, int]
    inferred_by: Sequence[str]
    heldout_inferred_by: Sequence[str]
    precision: str
    peak_memory_bytes: int

    def fallen(self) -> list[tuple[str, float, float]]:
        """The measures that fell by more than one standard error, with their change and its error."""
        changes = [(name, self.change[name], self.change[f"{name}_se"]) for name in MEASURES if name in self.change]
        return [(name, change, error) for name, change, error in changes if change < -error]


def model_card(data: str, config: JudgeTrainingConfig, benchmarks: tuple[str, ...], outcome: Outcome) -> str:
    """The text of a judge's README.md."""
    return f"""---
base_model: {json.dumps(config.base)}
license: {json.dumps(config.license)}
pipeline_tag: text-generation
tags:
- flip
- reward-model
---

# A backward judge

Reads a response and writes the instruction behind it, for the `flip` and the `likelihood` judge of open_instruct_flip.
Made by `flip judge train` from `{config.base}` and the pairs of `{data}` (split `{config.split}`).{_teachers(outcome)}

```bash
flip serve judge PATH/TO/THIS/FOLDER
```

{measures_table(outcome)}

{outcome.num_heldout} held-out pairs{_heldout_from(config)}, whose instructions were not trained on;
± is one standard error, that of a change over the pairs.
Step {outcome.best_step} of {outcome.num_steps} was kept, the best by {config.best_by};
the best of several measures is a little too good by chance alone.

{_counts(outcome)}

{_made(config, benchmarks, outcome)}

The licence above is that of the data, as it was given; the base model's own holds as well.
"""


def _teachers(outcome: Outcome) -> str:
    """Whose inferences the instructions are."""
    return "".join(
        f"\n{whose} were inferred by {', '.join(f'`{model}`' for model in models)}."
        for whose, models in (
            ("Instructions in the data", outcome.inferred_by),
            ("Instructions that it is measured on", outcome.heldout_inferred_by),
        )
        if models
    )


def _heldout_from(config: JudgeTrainingConfig) -> str:
    return f" of `{config.heldout_data}`" if config.heldout_data else ""


def measures_table(outcome: Outcome) -> str:
    """The measures before and after, with the trivial baselines, as Markdown."""
    names = ["before", "after", "change", *outcome.baselines]
    columns = [outcome.before, outcome.after, outcome.change, *outcome.baselines.values()]
    rows = [
        f"| {name} | {' | '.join(_cell(column, name) for column in columns)} | {MEASURES[name]} |" for name in MEASURES
    ]
    head = f"| measure | {' | '.join(names)} | is |"
    return "\n".join([head, "|---" * (len(names) + 2) + "|", *rows])


def _cell(figures: Mapping[str, float], name: str) -> str:
    if name not in figures:
        return ""
    error = figures.get(f"{name}_se")
    return f"{figures[name]:.3f}" + ("" if error is None else f" ± {error:.3f}")


def _counts(outcome: Outcome) -> str:
    rows = [f"| {REASONS[reason]} | {count:,} |" for reason, count in outcome.dropped.items() if count]
    taken = f"| **trained on**, negatives included | **{outcome.num_examples:,}** |"
    return "\n".join(["| rows | |", "|---|---|", f"| read | {outcome.num_rows:,} |", *rows, taken])


def _made(config: JudgeTrainingConfig, benchmarks: tuple[str, ...], outcome: Outcome) -> str:
    against = ", ".join(f"`{name}`" for name in benchmarks)
    how = "all weights" if config.full else f"LoRA of rank {config.lora_rank} on all linear layers, merged"
    return (
        f"{how[0].upper()}{how[1:]}; learning rate {config.peak_learning_rate:g}, {config.batch_size} pairs a step, "
        f"products in {outcome.precision}, seed {config.seed}, target `{config.flip_target}`, "
        f"negatives {config.negatives:g}. "
        f"{f'Decontaminated against {against}.' if against else 'Not decontaminated.'} "
        f"Peak memory {outcome.peak_memory_bytes / 1e9:.1f} GB."
    )
