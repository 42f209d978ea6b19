"""The judgements of an evaluation, read back and put together again by item."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.store import JUDGEMENTS
from open_instruct_flip.rewards import REPLY_FAILURES
from open_instruct_flip.rows.files import read_rows

NEEDED = (
    "benchmark",
    "subset",
    "item",
    "judge",
    "response_index",
    "right",
    "conversation",
    "response",
    "score",
    "error",
)

Judgement = dict[str, Any]
"""A row of `judgements.jsonl`: one judge's verdict on one response, in one run."""
Outcome = Literal["right", "wrong", "tied", "unreadable", "failed", "unlabelled"]
"""What a judge's scores of an item amount to. Failed: a request or the input is to blame, and not the reply."""


@dataclass(frozen=True)
class Voice:
    """A judge in one of its runs; shown as the judge alone where it ran once."""

    judge: str
    run: int = 0


@dataclass(frozen=True)
class JudgedItem:
    """An item, and every judgement of its responses.

    Attributes:
        right: For each response, whether a judge should prefer it; None where nobody said.
        judgements: Of each voice, one per response, in the order of the responses.
    """

    benchmark: str
    subset: str
    id: str
    conversation: Sequence[Message]
    responses: Sequence[str]
    right: Sequence[bool | None]
    judgements: Mapping[Voice, Sequence[Judgement]]

    def scores(self, voice: Voice) -> list[float | None]:
        """A voice's score of each response; None where it failed."""
        return [row["score"] for row in self.judgements[voice]]

    def outcome(self, voice: Voice) -> Outcome:
        """What a voice made of the item."""
        errors = [row["error"] for row in self.judgements[voice] if row["error"] is not None]
        if errors:
            return "unreadable" if all(error in REPLY_FAILURES for error in errors) else "failed"
        if None in self.right or len(set(self.right)) < 2:
            return "unlabelled"
        return judged_right(self.scores(voice), self.right)


def judged_right(scores: Sequence[Any], right: Sequence[Any]) -> Literal["right", "wrong", "tied"]:
    """Whether the best right response scores above every wrong one; a tie of the two earns nothing."""
    best = max(score for score, is_right in zip(scores, right, strict=True) if is_right)
    rival = max(score for score, is_right in zip(scores, right, strict=True) if not is_right)
    return "right" if best > rival else "tied" if best == rival else "wrong"


def choice(scores: Sequence[float | None]) -> int | None:
    """The response that these scores prefer, or None where none stands alone at the top or any is missing."""
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or not known or known.count(max(known)) > 1:
        return None
    return known.index(max(known))


def read_judgements(folder: Path) -> list[Judgement]:
    """The rows of a result folder's `judgements.jsonl`.

    Raises:
        UsageError: There is no such file, it is empty, or a row is none of `flip eval`'s.
    """
    file = folder / JUDGEMENTS
    if not file.is_file():
        raise UsageError(f"{folder} holds no {JUDGEMENTS}; give a folder that `flip eval run` wrote")
    rows = []
    for row in read_rows(file):
        missing = [name for name in NEEDED if name not in row.columns]
        if row.fault or missing:
            raise UsageError(f"{row.place}: {row.fault or 'no judgement, it lacks ' + ', '.join(missing)}")
        rows.append(row.columns)
    if not rows:
        raise UsageError(f"{file} is empty; nothing was judged")
    return rows


def read_results(folders: Sequence[Path]) -> list[Judgement]:
    """The judgements of several result folders; a judge that stands in more than one is told apart by its folder.

    Raises:
        UsageError: As for `read_judgements`.
    """
    read = {folder: read_judgements(folder) for folder in dict.fromkeys(folders)}
    labels = told_apart({folder: {row["judge"] for row in rows} for folder, rows in read.items()})
    return [{**row, "judge": labels[folder, row["judge"]]} for folder, rows in read.items() for row in rows]


def told_apart(judges: Mapping[Path, Collection[str]]) -> dict[tuple[Path, str], str]:
    """What each folder's judges are called: a judge that stands in more than one folder with the folder's name.

    Example:
        >>> list(told_apart({Path("small"): ["flip", "esfp"], Path("large"): ["flip"]}).values())
        ['flip (small)', 'esfp', 'flip (large)']
    """
    seen = Counter(judge for labels in judges.values() for judge in labels)
    names = folder_names(list(judges))
    return {
        (folder, judge): f"{judge} ({names[folder]})" if seen[judge] > 1 else judge
        for folder, labels in judges.items()
        for judge in labels
    }


def folder_names(folders: Sequence[Path]) -> dict[Path, str]:
    """What each folder is called: its name, or its whole path where another one has that name.

    Example:
        >>> list(folder_names([Path("a/pairs"), Path("b/pairs"), Path("b/llmbar")]).values())
        ['a/pairs', 'b/pairs', 'llmbar']
    """
    seen = Counter(folder.name for folder in dict.fromkeys(folders))
    return {folder: folder.name if seen[folder.name] == 1 else str(folder) for folder in folders}


def judged_items(rows: Iterable[Judgement]) -> list[JudgedItem]:
    """The items of these rows in the order of their first row, without the rows of attacked responses.

    A judge that has not judged all of an item's responses, as in a run that was stopped, has not judged the item. Items
    of one name that hold other texts, as those of two files are numbered, are two.
    """
    grouped: dict[tuple[str, str, str], dict[Voice, dict[int, Judgement]]] = {}
    for row in rows:
        if row.get("attack") is None:
            key = row["benchmark"], row["item"], json.dumps(row["conversation"])
            voices = grouped.setdefault(key, {})
            voices.setdefault(Voice(row["judge"], row.get("run") or 0), {})[row["response_index"]] = row
    return [_item(same) for voices in grouped.values() for same in _of_same_responses(voices)]


def _of_same_responses(voices: Mapping[Voice, dict[int, Judgement]]) -> list[dict[Voice, dict[int, Judgement]]]:
    """Voices apart that have judged other responses to the same conversation."""
    groups: list[tuple[dict[int, str], dict[Voice, dict[int, Judgement]]]] = []
    for voice, judged in voices.items():
        texts = {index: row["response"] for index, row in judged.items()}
        for known, group in groups:
            if all(known.get(index, text) == text for index, text in texts.items()):
                known.update(texts)
                group[voice] = judged
                break
        else:
            groups.append((texts, {voice: judged}))
    return [group for _, group in groups]


def _item(voices: Mapping[Voice, Mapping[int, Judgement]]) -> JudgedItem:
    fullest = max(voices.values(), key=len)
    rows = [fullest[index] for index in sorted(fullest)]
    return JudgedItem(
        rows[0]["benchmark"],
        rows[0]["subset"],
        rows[0]["item"],
        rows[0]["conversation"],
        [row["response"] for row in rows],
        [row["right"] for row in rows],
        {
            voice: [judged[index] for index in sorted(judged)]
            for voice, judged in voices.items()
            if len(judged) == len(rows)
        },
    )
