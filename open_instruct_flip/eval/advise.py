"""Which of several judges to train with, as far as their figures can tell."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from open_instruct_flip.eval.attacks.effects import Effect
from open_instruct_flip.eval.attacks.run import read_effects
from open_instruct_flip.eval.judgements import folder_names
from open_instruct_flip.eval.store import SETTINGS
from open_instruct_flip.eval.summary import headline, read_summaries

Z = 1.96
"""Standard errors on each side of a 95% interval."""
TOLERATED = 0.05
"""Share of unreadable replies, or of ties, that is let pass: at this one a third of all groups of 8 have one."""


@dataclass(frozen=True)
class Results:
    """What a result folder holds.

    Attributes:
        name: The folder's, which tells judges of one label apart.
        summary: What `summary.json` holds; None where no evaluation was finished.
        effects: What attacks did to judges, by their labels.
        judges: What the attacked judges' verdicts depend on, by their labels, as far as it is known.
    """

    name: str
    summary: Mapping[str, Any] | None = None
    effects: Sequence[Effect] = ()
    judges: Mapping[str, Any] = field(default_factory=dict)

    def labels(self, benchmark: str) -> Iterable[str]:
        """The judges that have results on a benchmark."""
        return self.summary["results"].get(benchmark, {}) if self.summary else ()


@dataclass(frozen=True)
class Gap:
    """A difference with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Case:
    """What speaks for and against a judge on a benchmark.

    Attributes:
        figure: Name of the benchmark's headline figure.
        value: Its value, None where nothing was judged.
        error: Its standard error.
        best_baseline: The best trivial judge.
        above_trivial: The judge's lead over it.
        tied: What the judge earns by ties alone (official less strict); a tie gives a policy nothing to learn from.
        unreadable: Share of replies without a verdict, in [0, 1].
        tokens: Per rollout.
        seconds: Of requests, per rollout.
        weakest: The attack that turned most choices, where attacks were run.
    """

    benchmark: str
    judge: str
    figure: str
    value: float | None
    error: float
    best_baseline: str
    above_trivial: Gap | None
    tied: float | None
    unreadable: float
    tokens: float
    seconds: float
    weakest: Effect | None = None

    @property
    def is_sound(self) -> bool:
        """Whether it surely beats every trivial judge, and can be read."""
        return self.above_trivial is not None and self.above_trivial.low > 0 and self.unreadable <= TOLERATED

    def words(self) -> list[str]:
        """What the figures say, each word with its figures."""
        return [*self._accuracy(), *self._readability(), self._cost(), *self._robustness()]

    def _accuracy(self) -> list[str]:
        if self.above_trivial is None or self.value is None:
            return ["nothing was judged, so nothing can be said of its accuracy"]
        gap = self.above_trivial
        verb = "better than" if gap.low > 0 else "worse than" if gap.high < 0 else "not told apart from"
        said = [f"{verb} the best trivial judge, {self.best_baseline}: {self.figure} {self.value:.3f}, {gap}"]
        if self.tied is not None:
            word = "discriminates" if self.tied < TOLERATED else "often ties"
            said.append(f"{word}: {self.tied:.3f} of its official accuracy is ties")
        return said

    def _readability(self) -> list[str]:
        word = "readable" if self.unreadable <= TOLERATED else "often unreadable"
        return [f"{word}: {self.unreadable:.1%} of the replies hold no verdict"]

    def _cost(self) -> str:
        return f"a rollout takes {self.tokens:,.0f} tokens and {self.seconds:.2f} s of requests"

    def _robustness(self) -> list[str]:
        if self.weakest is None or self.weakest.flipped is None:
            return ["robustness is not known: no attack on it was run"]
        flipped = self.weakest.flipped
        span = f"{flipped.low:.1%} to {flipped.high:.1%}"
        return [f"weakest against {self.weakest.attack}: {flipped.mean:.1%} flipped ({span})"]


@dataclass
class Advice:
    """The cases of a benchmark, best figure first, and the verdict with its reason."""

    benchmark: str
    cases: list[Case] = field(default_factory=list)
    judge: str | None = None
    reason: str = ""


def read_folders(folders: Sequence[Path]) -> list[Results]:
    """What these result folders hold.

    Raises:
        UsageError: A file is none of `flip eval`'s.
    """
    return [
        Results(name, next(iter(read_summaries([folder])), None), read_effects(folder), _judges(folder))
        for folder, name in folder_names(folders).items()
    ]


def advise(folders: Sequence[Results]) -> list[Advice]:
    """Say for each benchmark which judge to train with; none where the intervals do not tell.

    A judge that has results on a benchmark in more than one folder is told apart by the folder.
    """
    names = dict.fromkeys(name for one in folders if one.summary for name in one.summary["results"])
    return [_advice(benchmark, folders) for benchmark in names]


Paired = Mapping[tuple[str, str], Mapping[str, Any]]
"""The differences of the paired bootstrap by the two judges' names, which no two folders share."""


def _advice(benchmark: str, folders: Sequence[Results]) -> Advice:
    seen = Counter(label for one in folders for label in one.labels(benchmark))
    cases: list[Case] = []
    paired: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in folders:
        if one.summary is None:
            continue
        names = {label: f"{label} ({one.name})" if seen[label] > 1 else label for label in one.labels(benchmark)}
        for label, name in names.items():
            weakest = _weakest(label, one, folders, is_alone=seen[label] == 1)
            cases.append(_case(benchmark, name, one.summary["results"][benchmark][label], weakest))
        for gap in one.summary.get("differences", {}).get(benchmark, ()):
            judge, other = (names.get(label, label) for label in (gap["judge"], gap["other"]))
            paired[judge, other] = gap
    cases.sort(key=lambda case: -math.inf if case.value is None else case.value, reverse=True)
    advice = Advice(benchmark, cases)
    _decide(advice, paired)
    return advice


def _decide(advice: Advice, paired: Paired) -> None:
    sound = [case for case in advice.cases if case.is_sound]
    if not sound:
        advice.reason = "no judge is surely better than the trivial ones and readable as well"
        return
    best, *others = sound
    gaps = [(other, _gap(best, other, paired)) for other in others]
    level = [f"{other.judge} by {gap}" for other, gap in gaps if gap.low <= 0]
    if level:
        advice.reason = f"no verdict: {best.judge} is not surely ahead of {'; '.join(level)}. Judge more items"
        return
    advice.judge = best.judge
    lead = "; ".join(f"ahead of {other.judge} by {gap}" for other, gap in gaps)
    advice.reason = lead or "it alone is surely better than the trivial judges and readable"


def _gap(best: Case, other: Case, paired: Paired) -> Gap:
    """The lead of one judge: by the paired bootstrap where both were in one run, else from the standard errors."""
    for a, b, sign in ((best, other, 1), (other, best, -1)):
        one = paired.get((a.judge, b.judge))
        if one is not None and one["low"] is not None:
            low, high = sorted((sign * one["low"], sign * one["high"]))
            return Gap(sign * one["value"], low, high)
    return _apart(best.value or 0.0, best.error, other.value or 0.0, other.error)


def _apart(ours: float, our_error: float, theirs: float, their_error: float) -> Gap:
    half = Z * math.hypot(our_error, their_error)
    return Gap(ours - theirs, ours - theirs - half, ours - theirs + half)


def _case(benchmark: str, judge: str, result: Mapping[str, Any], weakest: Effect | None) -> Case:
    figure, overall, cost = headline(result), result["overall"], result["cost"]
    value, error = overall.get(figure), overall.get("se") or 0.0
    trivial = {name: own["overall"] for name, own in result["baselines"].items()}
    known = {name: own for name, own in trivial.items() if own.get(figure) is not None}
    best = max(known, key=lambda name: known[name][figure], default="")
    above = None
    if value is not None and best:
        above = _apart(value, error, known[best][figure], known[best].get("se") or 0.0)
    official = overall.get("official")
    return Case(
        benchmark,
        judge,
        figure,
        value,
        error,
        best,
        above,
        official - value if figure == "strict" and value is not None and official is not None else None,
        cost["unreadable"],
        (cost["prompt_tokens_per_1000"] + cost["completion_tokens_per_1000"]) / 1000,
        cost["request_seconds_per_1000"] / 1000,
        weakest,
    )


def _weakest(label: str, own: Results, folders: Sequence[Results], *, is_alone: bool) -> Effect | None:
    """Of a judge the attack, without a guard, that turned most choices; `is_alone`: no other judge has its label."""
    judge = own.summary.get("judges", {}).get(label) if own.summary else None
    found = [
        (effect.flipped.mean, effect)
        for one in folders
        if one is own or _is_same(judge, one.judges.get(label), is_alone)
        for effect in one.effects
        if effect.judge == label and effect.copy_guard == "off" and effect.flipped is not None
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _is_same(judge: Mapping[str, Any] | None, attacked: Mapping[str, Any] | None, is_alone: bool) -> bool:
    """Whether the judge of a run is the one that was attacked in another folder."""
    if judge is None or attacked is None:
        return is_alone
    # The effects say under which copy guard they are.
    return {**judge, "copy_guard": None} == {**attacked, "copy_guard": None}


def _judges(folder: Path) -> Mapping[str, Any]:
    """What a folder's judgements depend on, by judge; nothing where that isn't known."""
    try:
        judges: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text("utf-8"))["judges"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return judges
