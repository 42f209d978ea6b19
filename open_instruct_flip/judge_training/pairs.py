"""Pairs of response and instruction from chat data, split by instruction."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from open_instruct_flip.conversation import Message, Target, hide_instruction
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judge_training.config import LINE_UP, JudgeTrainingConfig
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
        num_fit: Pairs in them that can be learned from, before `num_pairs` are drawn.
        dropped: How many of them were left out, by reason.
        inferred_by: Models that have inferred instructions of rows; none where all were written for their responses.
        heldout_inferred_by: The same of the data that `heldout` is from.
    """

    train: list[Pair] = field(default_factory=list)
    heldout: list[Pair] = field(default_factory=list)
    num_rows: int = 0
    num_fit: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    inferred_by: set[str] = field(default_factory=set)
    heldout_inferred_by: set[str] = field(default_factory=set)

    def digest(self) -> str:
        """Equal for equal pairs in equal order."""
        pairs = [asdict(pair) for pair in (*self.heldout, *self.train)]
        return hashlib.blake2b(json.dumps(pairs).encode(), digest_size=16).hexdigest()


def draw_pairs(
    rows: Iterable[Row],
    config: JudgeTrainingConfig,
    contaminated: Callable[[str], bool] | None = None,
    heldout_rows: Iterable[Row] | None = None,
) -> Draw:
    """Read rows, draw `num_pairs` of the pairs in them, and hold some out.

    The draw depends on the seed and on the texts, not on the order of rows, but for an instruction that several rows
    have: the first of them counts. Memory holds the drawn pairs, and 16 bytes
    for each different instruction.

    Args:
        rows: Rows in the shapes of `rows.shapes.read_group`.
        config: Of its options, those on pairs.
        contaminated: Whether a text stands in a benchmark; rows with such a user turn are left out.
        heldout_rows: Rows to measure on, in place of some of `rows`. Rows with one of their instructions are left out.

    Raises:
        UsageError: A row fits no known shape and is not to be skipped, no row holds a response, most responses hold
            their instruction word for word, or too few pairs are left.
    """
    draw = Draw()
    pairs = _distinct(_read(rows, config, contaminated, draw), config.flip_target, draw)
    if heldout_rows is None:
        drawn = _drawn(pairs, config.num_pairs + config.heldout, config.seed)
        _check(draw, len(drawn))
        draw.heldout, draw.heldout_inferred_by = _held_out(drawn, draw, config), draw.inferred_by
        held = {spoken(pair.instruction) for pair in draw.heldout}
        draw.train = [pair for pair in drawn if spoken(pair.instruction) not in held][: config.num_pairs]
    else:
        _measured_on(heldout_rows, config, draw)
        draw.train = _drawn(_kept_away(pairs, draw), config.num_pairs, config.seed)
        _check(draw, len(draw.train))
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


def _drawn(pairs: Iterable[Pair], count: int, seed: int) -> list[Pair]:
    return heapq.nsmallest(count, pairs, key=lambda pair: _key(f"{seed}", pair.instruction, pair.response))


def _one_each(drawn: Iterable[Pair]) -> list[Pair]:
    """The first pair of each instruction."""
    first: dict[str, Pair] = {}
    for pair in drawn:
        first.setdefault(spoken(pair.instruction), pair)
    return list(first.values())


def _held_out(drawn: list[Pair], draw: Draw, config: JudgeTrainingConfig) -> list[Pair]:
    """Pairs of the data itself to measure on."""
    different = _one_each(drawn)
    if len(different) < 2 * config.heldout:
        raise UsageError(
            f"{len(different)} different instructions are left of {draw.num_rows} rows, too few to hold "
            f"{config.heldout} out: give more data or a smaller --heldout"
        )
    return different[: config.heldout]


def _measured_on(rows: Iterable[Row], config: JudgeTrainingConfig, draw: Draw) -> None:
    """Draw the pairs to measure on from other data."""
    other = Draw()
    # How much inferences agree says what is good to learn from.
    pairs = _read(rows, replace(config, min_agreement=0.0), None, other)
    # A system prompt may stand in any number of conversations.
    draw.heldout = _drawn(_one_each(pairs), config.heldout, config.seed)
    draw.heldout_inferred_by = other.inferred_by
    if len(draw.heldout) < LINE_UP:
        raise UsageError(
            f"--heldout_data {config.heldout_data} has {len(draw.heldout)} pairs of different instructions in its "
            f"{other.num_rows} rows, where {LINE_UP} are needed"
        )


def _kept_away(pairs: Iterable[Pair], draw: Draw) -> Iterator[Pair]:
    """The pairs whose instruction is not measured on."""
    held = {spoken(pair.instruction) for pair in draw.heldout}
    for pair in pairs:
        if spoken(pair.instruction) in held:
            draw.dropped["held_out"] += 1
        else:
            yield pair


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
    if isinstance(agreement, bool) or not isinstance(agreement, int | float):
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
        draw.num_fit += 1
        yield pair


def _key(*parts: str) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def _check(draw: Draw, left: int) -> None:
    """Refuse data that holds nothing to learn, or the wrong thing."""
    if draw.num_rows == 0:
        raise UsageError("the data holds no rows")
    if draw.dropped["held_out"] and not left:
        raise UsageError(f"no instruction of the {draw.num_rows} rows but those of --heldout_data is left to learn")
    if draw.dropped["no_response"] == draw.num_rows - draw.dropped["bad_row"]:
        raise UsageError(
            f"none of the {draw.num_rows} rows holds a response; a judge learns from rows with `response`, `output` or "
            "an assistant's last turn"
        )
    copied = draw.dropped["copied"]
    share = copied / max(1, copied + draw.num_fit)
    if share > MOST_COPIES:
        raise UsageError(
            f"{share:.0%} of the responses hold their instruction word for word: a judge would learn to copy, not to "
            "infer; take data whose responses do not repeat it"
        )
