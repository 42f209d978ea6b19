"""The fair half of a comparison: every run's final policy on the same prompts, under the same judges."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.together import together
from open_instruct_flip.compare.run import Run
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge, refuse_foreign_options
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import Reward
from open_instruct_flip.rows.files import Row, read_rows
from open_instruct_flip.rows.shapes import BadRowError, read_group

DEFAULT_JUDGES = ("flip", "pointwise")
POLICY_DIR = "policy"


@dataclass(frozen=True)
class HeldoutRow:
    """A prompt as a conversation that ends with a user turn, and one run's responses to it, when the file has them."""

    conversation: list[Message]
    run: str | None
    responses: list[str]


@dataclass(frozen=True)
class Verdict:
    """One run under one judge.

    Attributes:
        mean: Mean reward over prompts, in [0, 1]; None when the judge failed on every response.
        half_width: Half the width of the mean's 95% interval, prompts taken as a normal sample; None below 2 prompts.
        prompts: Prompts with at least one reward.
        failures: Responses without a reward, left out of the mean.
    """

    run: str
    judge: str
    mean: float | None
    half_width: float | None
    prompts: int
    failures: int


def read_heldout(file: Path) -> list[HeldoutRow]:
    """Read held-out prompts: rows of any known shape (`rows.shapes.read_group`), those with responses with their `run`.

    Raises:
        UsageError: A row has no prompt, or only one of `run` and responses; or only some rows have them.
    """
    rows = [_heldout_row(row) for row in read_rows(file)]
    if not rows:
        raise UsageError(f"{file} holds no prompt")
    if len({row.run is None for row in rows}) > 1:
        raise UsageError(f"{file}: some rows have a run's responses and some only a prompt; give one kind")
    return rows


def responses_of(
    run: Run, rows: Sequence[HeldoutRow], max_new_tokens: int, others: Sequence[Run] = ()
) -> list[tuple[list[Message], list[str]]]:
    """Each prompt with the run's responses: those in the file, or one that its final policy writes now.

    The file may call a run by its name, its source, or that one's last part where none of `others` has the same.

    Raises:
        UsageError: The file has responses of other runs only, or there is no final policy to ask.
    """
    if rows[0].run is not None:
        short = Path(run.source).name
        is_shared = short in {Path(other.source).name for other in others if other is not run}
        names = {run.name, run.source} if is_shared else {run.name, run.source, short}
        found = [(row.conversation, row.responses) for row in rows if row.run in names]
        if not found:
            known = ", ".join(sorted({str(row.run) for row in rows}))
            raise UsageError(f"the held-out file has no responses of {run.name}; its runs are {known}")
        return found
    from open_instruct_flip.compare.respond import respond

    conversations = [row.conversation for row in rows]
    answers = respond(Path(run.source) / POLICY_DIR, conversations, max_new_tokens)
    return [(conversation, [answer]) for conversation, answer in zip(conversations, answers, strict=True)]


Answered = Mapping[str, Sequence[tuple[list[Message], list[str]]]]
"""Each run's name, and its prompts as conversations with its responses to them."""


def make_judges(names: Sequence[str], options: Mapping[str, Any], client: ClientConfig) -> list[Judge]:
    """The judges of these names, each with those of the options that it has.

    Raises:
        UsageError: There is no such judge, or none of them has an option.
    """
    classes = [judge_class(name) for name in dict.fromkeys(names)]
    refuse_foreign_options(classes, options)
    return [judge.from_options(judge.own_options(options), client) for judge in classes]


def score_policies(answered: Answered, judges: Sequence[Judge]) -> list[Verdict]:
    """Score every run's responses under every judge: one verdict per run and judge.

    All responses to a prompt are judged together, so that a judge that compares a group compares the runs. Prompts that
    only some of the runs have answered are left out: a mean over other prompts is no comparison.

    Raises:
        UsageError: A judge compares a group, and there is one run only; or no prompt was answered by all runs.
        JudgeUnusableError: No request to the judge model can succeed.
    """
    return asyncio.run(_score_all(answered, judges))


async def _score_all(answered: Answered, judges: Sequence[Judge]) -> list[Verdict]:
    prompts = [prompt for prompt in _by_prompt(answered) if len(prompt.responses) == len(answered)]
    if not prompts:
        raise UsageError(f"no prompt was answered by all of the runs {', '.join(answered)}")
    verdicts = []
    for judge in judges:
        if judge.compares_group and len(answered) < 2:
            raise UsageError(f"the {judge.name} judge compares the runs, and there is only {', '.join(answered)}")
        async with judge:
            shares = await together(_shares(judge, prompt) for prompt in prompts)
        for run in answered:
            verdicts.append(_verdict(run, judge.name, [share[run] for share in shares]))
    return verdicts


@dataclass(frozen=True)
class _Prompt:
    conversation: list[Message]
    responses: dict[str, list[str]]
    """By run."""


def _by_prompt(answered: Answered) -> list[_Prompt]:
    """The prompts, a prompt that one run answered several times as several ones."""
    prompts: dict[tuple[str, int], _Prompt] = {}
    for run, groups in answered.items():
        seen: Counter[str] = Counter()
        for conversation, responses in groups:
            text = json.dumps(conversation)
            prompt = prompts.setdefault((text, seen[text]), _Prompt(conversation, {}))
            prompt.responses[run] = responses
            seen[text] += 1
    return list(prompts.values())


async def _shares(judge: Judge, prompt: _Prompt) -> dict[str, list[Reward]]:
    """The rewards of all responses to a prompt, by run."""
    rewards = iter(await judge.score(prompt.conversation, list(chain(*prompt.responses.values()))))
    return {run: list(islice(rewards, len(responses))) for run, responses in prompt.responses.items()}


def _verdict(run: str, judge: str, rewards: Sequence[Sequence[Reward]]) -> Verdict:
    scores = [[reward.score for reward in group if reward.score is not None] for group in rewards]
    means = [fmean(group) for group in scores if group]
    return Verdict(
        run=run,
        judge=judge,
        mean=fmean(means) if means else None,
        half_width=1.96 * stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None,
        prompts=len(means),
        failures=sum(len(group) for group in rewards) - sum(len(group) for group in scores),
    )


def _heldout_row(row: Row) -> HeldoutRow:
    try:
        if row.fault:
            raise BadRowError(row.fault)
        conversation, responses = read_group(row.columns)
        run = row.columns.get("run")
        if bool(responses) != (run is not None):
            raise BadRowError("responses and the 'run' that wrote them go together; this row has only one of them")
    except BadRowError as error:
        raise UsageError(f"{row.place}: {error}") from None
    return HeldoutRow(conversation, None if run is None else str(run), responses)
