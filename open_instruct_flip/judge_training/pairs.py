"""Pairs of response and instruction from chat data, split by instruction."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

from open_instruct_flip.conversation import Message, Target, hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.config import JudgeTrainingConfig
from open_instruct_flip.rows.files import Row
from open_instruct_flip.rows.shapes import BadRowError, read_group
from open_instruct_flip.similarity.f1 import is_scorable
from open_instruct_flip.thinking import final_answer

_WORD = re.compile(r"\w+")
MOST_COPIES = 0.5
"""Share of responses that hold their instruction from which data is refused."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A response, the turns that a judge may see beside it, and the instruction that it has to infer."""

    context: tuple[Message, ...]
    response: str
    instruction: str


@dataclass
class Draw:
    """The pairs of a run.

    Attributes:
        train: To learn from.
        heldout: To measure on, one for each instruction; none of these is among those of `train`.
        num_rows: Rows that were read.
        dropped: How many of them were left out, by reason.
        inferred_by: Models that have inferred instructions of rows; none where all were written for their responses.
    """

    train: list[Pair] = field(default_factory=list)
    heldout: list[Pair] = field(default_factory=list)
    num_rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    inferred_by: set[str] = field(default_factory=set)

    def digest(self) -> str:
        """Equal for equal pairs in equal order."""
        pairs = [asdict(pair) for pair in (*self.heldout, *self.train)]
        return hashlib.blake2b(json.dumps(pairs).encode(), digest_size=16).hexdigest()


def draw_pairs(
    rows: Iterable[Row], config: JudgeTrainingConfig, contaminated: Callable[[str], bool] | None = None
) -> Draw:
    """Read rows, draw `num_pairs` of the pairs in them, and hold some out.

    The draw depends on the seed and on the texts, not on the order of rows. Memory holds the drawn pairs, and 16 bytes
    for each different instruction.

    Args:
        rows: Rows in the shapes of `rows.shapes.read_group`.
        config: Of its options, those on pairs.
        contaminated: Whether a text stands in a benchmark; rows with such a user turn are left out.

    Raises:
        UsageError: A row fits no known shape and is not to be skipped, no row holds a response, most responses hold
            their instruction word for word, or too few pairs are left.
    """
    draw = Draw()
    pairs = _distinct(_read(rows, config, contaminated, draw), config.flip_target, draw)
    wanted = config.num_pairs + config.heldout
    drawn = heapq.nsmallest(wanted, pairs, key=lambda pair: _key(f"{config.seed}", pair.instruction, pair.response))
    _check(draw, len(drawn))
    instructions = list(dict.fromkeys(spoken(pair.instruction) for pair in drawn))
    if len(instructions) < 2 * config.heldout:
        raise UsageError(
            f"{len(instructions)} different instructions are left of {draw.num_rows} rows, too few to hold "
            f"{config.heldout} out: give more data or a smaller --heldout"
        )
    of_instruction = {spoken(pair.instruction): pair for pair in reversed(drawn)}
    held = instructions[: config.heldout]
    draw.heldout = [of_instruction[instruction] for instruction in held]
    draw.train = [pair for pair in drawn if spoken(pair.instruction) not in set(held)][: config.num_pairs]
    return draw


def spoken(text: str) -> str:
    """A text's words in lower case: what makes two instructions the same.

    Example:
        >>> spoken("Write a haiku, please!")
        'write a haiku please'
    """
    return " ".join(_WORD.findall(text.casefold()))


def is_copied(instruction: str, response: str) -> bool:
    """Whether a response holds an instruction word for word."""
    return f" {spoken(instruction)} " in f" {spoken(response)} "


def _read(
    rows: Iterable[Row], config: JudgeTrainingConfig, contaminated: Callable[[str], bool] | None, draw: Draw
) -> Iterator[Pair]:
    for row in rows:
        draw.num_rows += 1
        try:
            if row.fault:
                raise BadRowError(row.fault)
            conversation, responses = read_group(row.columns)
        except BadRowError as error:
            if not config.skip_bad_rows:
                raise UsageError(f"{row.place}: {error}; --skip_bad_rows leaves such rows out") from None
            draw.dropped["bad_row"] += 1
            continue
        if config.min_agreement and _agreement(row) < config.min_agreement:
            draw.dropped["disagreed"] += 1
            continue
        pair = _pair(conversation, responses, config.flip_target)
        reason = pair if isinstance(pair, str) else _unfit(pair, conversation, contaminated)
        if reason:
            draw.dropped[reason] += 1
        elif isinstance(pair, Pair):
            if isinstance(teacher := row.columns.get("inferred_by"), str):
                draw.inferred_by.add(teacher)
            yield pair


def _agreement(row: Row) -> float:
    agreement = row.columns.get("agreement")
    if not isinstance(agreement, float):
        raise UsageError(
            f"{row.place} tells no agreement for --min_agreement: `flip judge distil --num_samples 4` writes it"
        )
    return agreement


def _pair(conversation: list[Message], responses: list[str], target: Target) -> Pair | str:
    """The pair of a row: its first response with an answer; or the reason why there is none."""
    answers = [answer for response in responses if (answer := final_answer(response)).strip()]
    if not answers:
        return "no_response"
    if target == "system" and not any(turn["role"] == "system" for turn in conversation):
        return "no_system_prompt"
    hidden = hide_instruction(conversation, target)
    return Pair(hidden.context, answers[0], hidden.instruction.strip())


def _unfit(pair: Pair, conversation: list[Message], contaminated: Callable[[str], bool] | None) -> str | None:
    if not is_scorable(pair.instruction) or not spoken(pair.instruction):
        return "unscorable"
    if contaminated and any(contaminated(turn["content"]) for turn in conversation if turn["role"] == "user"):
        return "contaminated"
    if is_copied(pair.instruction, pair.response):
        return "copied"
    return None


def _distinct(pairs: Iterable[Pair], target: Target, draw: Draw) -> Iterator[Pair]:
    """The first pair of each instruction. A system prompt has many conversations, each of which counts."""
    seen: set[bytes] = set()
    for pair in pairs:
        turns = [turn["content"] for turn in pair.context] if target == "system" else []
        key = _key(spoken(pair.instruction), *turns)
        if key in seen:
            draw.dropped["duplicate"] += 1
            continue
        seen.add(key)
        yield pair


def _key(*parts: str) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _check(draw: Draw, left: int) -> None:
    """Refuse data that holds nothing to learn, or the wrong thing."""
    if draw.num_rows == 0:
        raise UsageError("the data holds no rows")
    if draw.dropped["no_response"] == draw.num_rows - draw.dropped["bad_row"]:
        raise UsageError(
            f"none of the {draw.num_rows} rows holds a response; a judge learns from rows with `response`, `output` or "
            "an assistant's last turn"
        )
    copied = draw.dropped["copied"]
    share = copied / max(1, copied + left)
    if share > MOST_COPIES:
        raise UsageError(
            f"{share:.0%} of the responses hold their instruction word for word: a judge would learn to copy, not to "
            "infer; take data whose responses do not repeat it"
        )
