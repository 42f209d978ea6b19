"""The model card in the folder of a trained esfp model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from open_instruct_flip.esfp.config import TrainConfig

if TYPE_CHECKING:
    from open_instruct_flip.esfp.training import Trained

CARD = """---
library_name: transformers
pipeline_tag: fill-mask
tags: [reward-model, esfp]
---

# An esfp judge

A masked language model that fills the slot of a template with {positive} or {negative}. The share of the first in
their probability is the reward of a response. It is read by `--judge esfp --esfp_model FOLDER` of open_instruct_flip;
template and words stand in `esfp.json`.

- Made from {base}, with seed {seed}{explanations}.
- {train} pairs trained on, {heldout} held out: the chosen response has the higher reward in {accuracy:.1%} of these
  ({accuracy_before:.1%} before training), loss {loss:.3f}, {steps} steps. The best of several evaluations was kept by
  the held-out loss, so that these figures flatter it; test it on pairs it has not seen.
- {truncated:.1%} of the responses were shown with a middle cut out, to fit {max_length} tokens.
- Versions: {versions}.

It has learned what these pairs prefer, and no more. A response that imitates the template's own words can mislead it.
"""


def write_card(trained: Trained, config: TrainConfig, versions: Mapping[str, str]) -> None:
    """Write README.md beside the weights."""
    slot = config.slot()
    text = CARD.format(
        positive=" or ".join(slot.positive),
        negative=" or ".join(slot.negative),
        base=config.base,
        seed=config.seed,
        explanations=", on explanations" if config.explanations else ", without explanations",
        train=trained.pairs[0],
        heldout=trained.pairs[1],
        accuracy=trained.accuracy,
        accuracy_before=trained.accuracy_before,
        loss=trained.loss,
        steps=trained.steps,
        truncated=trained.truncated,
        max_length=slot.max_length,
        versions=", ".join(f"{name} {number}" for name, number in versions.items()),
    )
    (trained.folder / "README.md").write_text(text, "utf-8")
