"""LLMBar: 419 pairs that people agreed on, of which one response follows the instruction and the other does not.

Source: Evaluating Large Language Models at Evaluating Instruction Following, arXiv 2310.07641; the files are those of
a copy of its repository (github.com/princeton-nlp/LLMBar, MIT).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.items import Item

FOLDERS = {
    "Natural": "Natural",
    "Neighbor": "Adversarial/Neighbor",
    "GPTInst": "Adversarial/GPTInst",
    "GPTOut": "Adversarial/GPTOut",
    "Manual": "Adversarial/Manual",
}
"""Subset -> its folder below `Dataset/LLMBar`."""


def read(root: str | Path) -> Iterator[Item]:
    """The items of a copy of the repository, subset by subset; ids are `<subset>/<number from 0>`.

    Raises:
        UsageError: A file is missing or not of LLMBar's form.
    """
    for subset, folder in FOLDERS.items():
        path = Path(root) / "Dataset" / "LLMBar" / folder / "dataset.json"
        try:
            rows = json.loads(path.read_text("utf-8"))
            for number, row in enumerate(rows):
                yield Item(
                    f"{subset}/{number}",
                    subset,
                    ({"role": "user", "content": row["input"]},),
                    (row["output_1"], row["output_2"]),
                    (row["label"] == 1, row["label"] == 2),
                )
        except FileNotFoundError as error:
            raise UsageError(f"{path} is missing; --data takes a copy of the LLMBar repository") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not of LLMBar's form: {error!r}") from error
