"""From rows to the prompts of a dataset: filter, draw a sample, keep those that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from open_instruct_flip.data.config import BuildConfig
from open_instruct_flip.data.decontaminate import Benchmarks
from open_instruct_flip.data.filters import Filter, prefix, prompt_filters
from open_instruct_flip.data.near_duplicates import NearDuplicates
from open_instruct_flip.data.prompts import BadRows, ChatPrompt, read_prompts
from open_instruct_flip.data.sampling import Pool
from open_instruct_flip.rows.files import Row


@dataclass(frozen=True)
class Selection:
    """The prompts of a dataset in their order, and what became of every row.

    `dropped` holds a count for each filter, zeros included; rows = bad rows + dropped + prompts.
    """

    prompts: tuple[ChatPrompt, ...]
    num_rows: int
    dropped: dict[str, int]
    bad_rows: BadRows

    def summary(self) -> str:
        """The counts in one line, filters without effect left out."""
        counts = {"bad_rows": self.bad_rows.count, **self.dropped}
        return ", ".join([f"rows {self.num_rows}", *(f"{name} {count}" for name, count in counts.items() if count)])


def select_prompts(rows: Iterable[Row], config: BuildConfig, benchmarks: Benchmarks | None = None) -> Selection:
    """Filter rows and draw `config.num_prompts` of what is left.

    Memory holds a pool of `num_prompts * oversample` prompts, however many rows there are.

    Raises:
        FlipError: A row fits no known shape, and `config.skip_bad_rows` is off.
        MissingDependencyError: datasketch is not installed; no row has been read then.
    """
    bad_rows = BadRows(config.skip_bad_rows)
    filters = prompt_filters(config, benchmarks.contain if benchmarks else None)
    dropped = Counter(dict.fromkeys((test.name for test in filters), 0))
    pool = Pool(config.num_prompts * config.oversample, config.seed)
    near_duplicates = NearDuplicates(config.near_duplicate_threshold)  # what it needs is missed before hours of reading
    num_prompts = 0
    for prompt in read_prompts(rows, bad_rows, multi_turn=config.multi_turn):
        num_prompts += 1
        reason = _first_reason(prompt, filters)
        if reason:
            dropped[reason] += 1
        else:
            pool.add(prompt)
    kept = tuple(_keep_different(pool, near_duplicates, config, dropped))
    return Selection(kept, num_prompts + bad_rows.count, dict(dropped), bad_rows)


def _first_reason(prompt: ChatPrompt, filters: Iterable[Filter]) -> str | None:
    return next((test.name for test in filters if test.drops(prompt)), None)


def _keep_different(
    pool: Pool, near_duplicates: NearDuplicates, config: BuildConfig, dropped: Counter[str]
) -> Iterator[ChatPrompt]:
    """The first prompts of the pool that neither repeat each other nor come from one template."""
    dropped.update(duplicate=pool.duplicates, near_duplicate=0, template=0, not_sampled=pool.not_sampled)
    prefixes: Counter[str] = Counter()
    kept = 0
    for prompt in pool.prompts():
        start = prefix(prompt.instruction, config.prefix_words)
        if kept == config.num_prompts:
            dropped["not_sampled"] += 1
        elif prefixes[start] == config.max_per_prefix:
            dropped["template"] += 1
        elif near_duplicates.add(prompt.instruction):
            dropped["near_duplicate"] += 1
        else:
            prefixes[start] += 1
            kept += 1
            yield prompt
