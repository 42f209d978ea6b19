"""The judges of a run, each under a label of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.probe import check_endpoints
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge, refuse_foreign_options
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.judging.identity import check_cache, judge_identity, settled


@dataclass(frozen=True, slots=True)
class Contender:
    """A judge with the label that its judgements carry: its name, with `@<model>` where several models are judged."""

    label: str
    judge: Judge

    @property
    def model(self) -> str:
        return self.judge.client.config.llm_judge_model

    def num_runs(self, runs: int) -> int:
        """How often it judges an item: once where it would say the same each time."""
        return runs if self.judge.temperature > 0 else 1

    def for_run(self, run: int) -> Judge:
        """The judge of a run, which counts from 0; each has a seed of its own where there is one."""
        seed = self.judge.config.seed
        if seed is None or run == 0:
            return self.judge
        return self.judge.remade(self.judge.client.config, seed=seed + run)


def find_contenders(
    names: Sequence[str], options: Mapping[str, Any], clients: Sequence[ClientConfig]
) -> list[Contender]:
    """Every named judge with every model.

    Args:
        names: Names of judges.
        options: Options of judges; each takes those that it has.
        clients: How each model is reached.

    Raises:
        UsageError: A name is unknown or given twice, an option is nobody's, or a value can't work.
    """
    for kind, given in (("--judge", names), ("--llm_judge_model", [client.llm_judge_model for client in clients])):
        twice = next((name for name in given if list(given).count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"{kind} {twice} is given twice")
    classes = [judge_class(name) for name in names]
    refuse_foreign_options(classes, options)
    several = len(clients) > 1
    contenders = [
        Contender(
            f"{judge.name}@{client.llm_judge_model}" if several else judge.name,
            judge.from_options(judge.own_options(options), client),
        )
        for client in clients
        for judge in classes
    ]
    for contender in contenders:
        check_cache(contender.judge)
    return contenders


def identify(contenders: Iterable[Contender]) -> dict[str, tuple[Contender, dict[str, Any]]]:
    """Each contender by its label as its server settles it, and what its verdicts depend on.

    Every model's endpoints are asked, once.

    Raises:
        JudgeUnusableError: A judge can't be used.
    """
    contenders = list(contenders)
    clients = {contender.model: contender.judge.client.config for contender in contenders}
    reports = {model: check_endpoints(client) for model, client in clients.items()}
    found = [(replace(one, judge=settled(one.judge)), reports[one.model]) for one in contenders]
    return {one.label: (one, judge_identity(one.judge, report)) for one, report in found}
