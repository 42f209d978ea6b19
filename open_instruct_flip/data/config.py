"""The options of a build, each written once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from open_instruct_flip.data.labels import BASELINE_LABEL
from open_instruct_flip.errors import UsageError

# Stays a folder name and a hub name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class BuildConfig:
    """Which prompts a build keeps, and how the datasets are called. Equal options and data give equal bytes."""

    name: str = field(
        default="", metadata={"help": "Name of the baseline dataset, FLIP's is NAME_flip; for WildChat it is wildchat"}
    )
    num_prompts: int = field(default=12_000, metadata={"help": "Prompts to keep at most"})
    seed: int = field(default=1, metadata={"help": "Seed of the sample"})
    multi_turn: bool = field(
        default=False, metadata={"help": "Take conversations up to their last user turn, not up to the first"}
    )
    min_words: int = field(default=5, metadata={"help": "Fewest words of an instruction"})
    max_words: int = field(default=512, metadata={"help": "Most words of an instruction"})
    max_context_words: int = field(default=1024, metadata={"help": "Most words in the turns before it"})
    min_distinct_words: int = field(
        default=4,
        metadata={"help": "Fewest different words without articles; token F1 of fewer says little"},
    )
    keep_math_code: bool = field(default=False, metadata={"help": "Keep prompts about mathematics and programming"})
    near_duplicate_threshold: float = field(
        default=0.7, metadata={"help": "Jaccard similarity of word pairs from which two instructions are alike"}
    )
    prefix_words: int = field(default=6, metadata={"help": "Words that make a template-like prefix"})
    max_per_prefix: int = field(default=10, metadata={"help": "Prompts that may share such a prefix"})
    decontaminate_ngram: int = field(
        default=8, metadata={"help": "Words in a row that a prompt must not share with a --decontaminate file"}
    )
    oversample: int = field(
        default=5, metadata={"help": "Prompts drawn per prompt kept; near duplicates and templates come out of these"}
    )
    baseline_label: str = field(default=BASELINE_LABEL, metadata={"help": "Label of the baseline dataset"})
    license: str = field(
        default="", metadata={"help": "Licence of the source, as the hub spells it; WildChat's is odc-by"}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave out rows that fit no known shape"})

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise UsageError(f"--name is a folder name of letters, digits and ._-, got {self.name!r}")
        for option in ("num_prompts", "prefix_words", "max_per_prefix", "decontaminate_ngram", "oversample"):
            if getattr(self, option) < 1:
                raise UsageError(f"--{option} must be above 0, got {getattr(self, option)}")
        if not 0 < self.near_duplicate_threshold <= 1:
            raise UsageError(f"--near_duplicate_threshold lies in (0, 1], got {self.near_duplicate_threshold}")
        if self.min_words > self.max_words:
            raise UsageError(f"--min_words {self.min_words} is above --max_words {self.max_words}")
