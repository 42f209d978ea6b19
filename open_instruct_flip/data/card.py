"""The dataset card: README.md with the YAML header that the hub and `datasets.load_dataset` read."""

from __future__ import annotations

import json

from open_instruct_flip.data.labels import FLIP_LABEL
from open_instruct_flip.data.manifest import Manifest

# What a count in the manifest means, in the order of the filters.
REASONS = {
    "not_english": "not English",
    "toxic": "marked toxic",
    "redacted": "marked redacted",
    "too_few_words": "instruction below the fewest words",
    "too_many_words": "instruction above the most words",
    "long_context": "earlier turns above the most words",
    "weak_signal": "too few different words for token F1",
    "code": "programming",
    "math": "mathematics",
    "contaminated": "shares a run of words with a benchmark",
    "duplicate": "repeats a sampled conversation",
    "near_duplicate": "nearly repeats another instruction",
    "template": "too many prompts with the same first words",
    "not_sampled": "fit, but not drawn",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(name: str, label: str, manifest: Manifest) -> str:
    """The text of a variant's README.md."""
    return f"{_header(name, manifest)}\n{_about(name, label, manifest)}\n{_counts(manifest)}\n{_use(name)}"


def _header(name: str, manifest: Manifest) -> str:
    size = next((text for limit, text in SIZES if manifest.num_prompts < limit), "1M<n<10M")
    return f"""---
pretty_name: {json.dumps(name)}
license: {manifest.config["license"]}
language:
- en
task_categories:
- text-generation
tags:
- rlvr
- flip
- open-instruct
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
"""


def _about(name: str, label: str, manifest: Manifest) -> str:
    source = manifest.source
    revision = f" at revision `{source.revision}`" if source.revision else ""
    against = ", ".join(f"`{path}`" for path in manifest.decontaminated_against)
    decontaminated = f" Decontaminated against {against}." if against else " Not decontaminated."
    judge = "FLIP's judge infers the instruction" if label == FLIP_LABEL else "another judge scores the response"
    return f"""# {name}

{manifest.num_prompts:,} general-chat prompts for RLVR training with Open Instruct, labelled `{label}`: {judge}.
A second dataset holds the same prompts in the same order under another label; both have the content hash
`{manifest.content_sha256[:16]}`.

| column | what |
|---|---|
| `messages` | the prompt: a list of `role` and `content` that ends with a user turn |
| `ground_truth` | the exact text of that last user turn |
| `dataset` | the verifier's label, `{label}` in every row |

Built by `flip data build` from `{source.name}` (split `{source.split}`){revision}.{decontaminated}
`manifest.json` holds every option and version.
"""


def _counts(manifest: Manifest) -> str:
    rows = [f"| rows read | {manifest.num_rows:,} |", f"| fit no known shape | {manifest.bad_rows:,} |"]
    rows += [f"| {REASONS[reason]} | {count:,} |" for reason, count in manifest.dropped.items()]
    rows += [f"| **prompts** | **{manifest.num_prompts:,}** |"]
    return "\n".join(["## What was left out", "", "| reason | rows |", "|---|---|", *rows, ""])


def _use(name: str) -> str:
    return f"""## Use

```python
from datasets import load_dataset

prompts = load_dataset("PATH/TO/{name}", split="train")
```

In Open Instruct: `--dataset_mixer_list PATH/TO/{name} 1.0 --dataset_mixer_list_splits train`.

## Limits

The language, mathematics and programming filters are heuristics; toxicity and redaction are the source's own marks.
Token F1 compares words, so prompts in other languages than English are left out on purpose.
"""
