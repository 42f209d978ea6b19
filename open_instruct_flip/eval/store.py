"""`judgements.jsonl`: a row per judgement, written as it comes, and gone on with by the next run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from open_instruct_flip.errors import UsageError
from open_instruct_flip.eval.items import Item
from open_instruct_flip.judging.identity import changes
from open_instruct_flip.judging.line_file import LineFile
from open_instruct_flip.judging.lines import Output, decode, encode
from open_instruct_flip.one_writer import write_at_once
from open_instruct_flip.rewards import REQUEST_FAILURES, ReadToken, Reward, rounded

JUDGEMENTS = "judgements.jsonl"
SETTINGS = "settings.json"


class Key(NamedTuple):
    """What an item's judgements are found by. Runs count from 0; `attack` is None for responses as they are."""

    judge: str
    attack: str | None
    run: int
    item: str


def judgement_rows(benchmark: str, model: str, key: Key, item: Item, rewards: Sequence[Reward]) -> list[Output]:
    """The rows of an item's judgements, one per response."""
    return [
        {
            "benchmark": benchmark,
            "subset": item.subset,
            "item": key.item,
            "judge": key.judge,
            "model": model,
            "attack": key.attack,
            "run": key.run,
            "response_index": index,
            "right": item.right[index],
            "conversation": list(item.conversation),
            "response": item.responses[index],
            "score": reward.score,
            "error": None if reward.error is None else reward.error.value,
            "detail": reward.detail,
            "reply": reward.reply,
            "inferred_instruction": reward.inferred_instruction,
            "copy_rate": rounded(reward.copy_rate),
            "overlap": rounded(reward.overlap),
            "tokens": None if reward.tokens is None else [_rounded(token) for token in reward.tokens],
            "prompt_tokens": reward.usage.prompt_tokens,
            "completion_tokens": reward.usage.completion_tokens,
            "requests": reward.usage.requests,
            "latency_s": round(reward.latency_s, 4),
        }
        for index, reward in enumerate(rewards)
    ]


def _rounded(token: ReadToken) -> list[Any]:
    """A token's text, log-probability and, where it counts, that without what is judged, in thousandths of a nat."""
    numbers = (token.logprob,) if token.prior is None else (token.logprob, token.prior)
    return [token.text, *(round(number, 3) for number in numbers)]


class JudgementStore(LineFile):
    """The judgements of a folder. Only whole items count; of an item that was judged again, the last rows do.

    Args:
        folder: Where the files lie; made on entry.
        settings: What the judgements depend on. A run goes on only from judgements of equal settings.
        restart: Throw away what the folder holds.

    Raises:
        UsageError: On entry: the folder's judgements have other settings, or another process writes them.

    Attributes:
        num_responses: Judgements that this run has, those of earlier runs included, once `append` or `kept` saw them.
        num_failures: Those of them without a score.
    """

    elsewhere = "--out"

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path = folder / JUDGEMENTS
        self._settings_path = folder / SETTINGS
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._restart = restart
        self._rows: dict[Key, list[Output]] = {}
        self.num_responses = 0
        self.num_failures = 0

    def kept(self, key: Key, num_responses: int) -> list[Output] | None:
        """An item's rows from an earlier run; None where some are missing, or a request had failed."""
        rows = self._rows.get(key, [])
        if len(rows) != num_responses or any(row["error"] in REQUEST_FAILURES for row in rows):
            return None
        self._count(rows)
        return rows

    def append(self, key: Key, rows: list[Output]) -> None:
        """Write an item's rows; after that a killed process can't lose them.

        Raises:
            FlipError: They can't be written, as on a full disk.
        """
        self._write(rows)
        self._rows[key] = rows
        self._count(rows)

    def finish(self, keys: Iterable[Key]) -> list[Output]:
        """The rows of these items in their order.

        The file has them in that order from then on, each row once, and behind them what it holds of other items, such
        as those of attacks that this run was not asked for.
        """
        wanted = list(keys)
        others = self._rows.keys() - set(wanted)
        rows = [row for key in wanted for row in self._rows[key]]
        new = self.path.with_name(f"{JUDGEMENTS}.new")
        with new.open("wb") as file:
            file.writelines(map(encode, rows))
            file.writelines(encode(row) for key, kept in self._rows.items() if key in others for row in kept)
        new.replace(self.path)
        return rows

    def _count(self, rows: Sequence[Output]) -> None:
        self.num_responses += len(rows)
        self.num_failures += sum(row["error"] is not None for row in rows)

    def _take_over(self, opened: ExitStack) -> None:
        if self._restart:
            self._file.truncate(0)
        self._file.seek(0)
        end = 0
        for line in self._file:
            if line.endswith(b"\n"):
                end += len(line)
                self._take(decode(line) or {})
        if self._rows:
            self._check_settings()
        self._file.truncate(end)
        write_at_once(self._settings_path, f"{json.dumps(self._settings, indent=1)}\n")

    def _take(self, row: Output) -> None:
        if not row:
            return
        key = Key(row["judge"], row["attack"], row["run"], row["item"])
        if row["response_index"] == 0:
            self._rows[key] = []
        self._rows.setdefault(key, []).append(row)

    def _check_settings(self) -> None:
        try:
            theirs = json.loads(self._settings_path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self._other(f"{self.path} has no readable {SETTINGS} beside it") from error
        changed = list(changes(theirs, self._settings))
        if changed:
            raise self._other(f"{self.path} was made with other settings ({', '.join(changed)})")

    def _other(self, what: str) -> UsageError:
        return UsageError(f"{what}; choose another --out, or --restart, which throws it away")
