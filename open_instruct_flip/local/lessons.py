"""What the local judge learns: this package's own prompts about responses of the world, and what is right to reply."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from open_instruct_flip.client.config import NEVER_ASKED
from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.contract import Contract, ReplyForm
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import NO_RESPONSE, LikelihoodJudge
from open_instruct_flip.judges.pointwise import PointwiseJudge
from open_instruct_flip.judges.response import ResponseJudge
from open_instruct_flip.local import world
from open_instruct_flip.local.examples import Example, broken, habitual, mutated, training_specs, user_turn
from open_instruct_flip.local.world import CONSTRAINTS, Spec

Kind = Literal["flip", "pointwise"]
SHARE_OF_BROKEN_RESPONSES = {"flip": 0.25, "pointwise": 0.4, "likelihood": 0.25}
SHARE_OF_LIKELIHOOD = 0.15
"""Of the lessons without a score."""
SHARE_WITHOUT_RESPONSE = 0.25
"""Of the likelihood lessons: what an instruction is like before anything is known."""
SHARE_OF_COMPACT_JSON = 0.15
"""Servers that force a schema may leave its blanks out."""
_REASONING = {
    "list": "A list.",
    "write": "A text.",
    "explain": "An explanation.",
    "suggest": "Suggestions.",
    "rewrite": "A rewrite.",
    None: "Unclear.",
}


@dataclass(frozen=True, slots=True)
class Way:
    """A way in which a judge asks: with a sentence of reasoning before the verdict or without, under a contract."""

    reasoning: bool
    contract: Contract


REASONED, PLAIN, OPENED = Way(True, "free"), Way(False, "free"), Way(False, "prefill")
SHARES: dict[Kind, dict[Way, float]] = {
    "flip": {REASONED: 0.4, PLAIN: 0.25, OPENED: 0.35},
    # Without a sentence of reasoning a grade is learned slowly, and less well.
    "pointwise": {REASONED: 0.8, PLAIN: 0.1, OPENED: 0.1},
}


@lru_cache
def asking(kind: Kind, *, reasoning: bool) -> ResponseJudge:
    """A judge that is never asked, for its prompt and its reading of replies."""
    judges: dict[Kind, type[ResponseJudge]] = {"flip": FlipJudge, "pointwise": PointwiseJudge}
    return judges[kind].from_options({"reasoning": reasoning}, NEVER_ASKED)


def question(kind: Kind, way: Way, instruction: str, response: str) -> list[Message]:
    """The chat that a judge sends, the reply's opening included where it opens it."""
    judge = asking(kind, reasoning=way.reasoning)
    asked = judge.question([user_turn(instruction)], [response])
    return list(judge.request(asked.build_messages(response), asked.form, way.contract).messages)


def reading(kind: Kind, way: Way, reply: str) -> Any:
    """What the judge reads in a reply; raises UnreadableReply."""
    judge = asking(kind, reasoning=way.reasoning)
    return judge.parse(_form(judge).whole(reply, is_opened=way.contract == "prefill"))


def judge_lessons(seed: int, share_of_scores: float, short: bool) -> Iterator[Example]:
    """An endless stream of lessons, those of all judges mixed.

    Args:
        seed: Of the stream.
        share_of_scores: How many of them ask for a grade.
        short: Whether they have a short stand-in for the prompt, for the first stage of training.
    """
    rng = random.Random(seed)
    specs = training_specs()
    heldout = frozenset(world.split()[1])
    while True:
        spec = rng.choice(specs)
        if rng.random() < share_of_scores:
            yield _grade(spec, rng, short)
            continue
        kind = "likelihood" if rng.random() < SHARE_OF_LIKELIHOOD else "flip"
        response = _judged_response(spec, kind, rng)
        shown = world.read(response)
        if shown not in heldout:
            yield (
                _statement(shown, response, rng, short)
                if kind == "likelihood"
                else _inference(shown, response, rng, short)
            )


def _inference(shown: Spec, response: str, rng: random.Random, short: bool) -> Example:
    """FLIP's question, and the reply of a judge that saw exactly what the response shows."""
    verdict = {"reasoning": _REASONING[shown.family], "instruction": world.instruction(shown)}
    return _lesson("flip", "", response, verdict, rng, short)


def _grade(spec: Spec, rng: random.Random, short: bool) -> Example:
    """A pointwise judge's question, and the reply of one that knows the true rate: what is missed, 1 to 10 points."""
    response = _judged_response(spec, "pointwise", rng)
    missed = [name for name, kept in world.kept_constraints(spec, response).items() if not kept]
    reasoning = f"Misses {', '.join(missed)}." if missed else "Misses nothing."
    verdict = {"reasoning": reasoning, "score": 1 + round(9 * world.true_rate(spec, response))}
    return _lesson("pointwise", world.instruction(spec), response, verdict, rng, short)


def _lesson(
    kind: Kind, instruction: str, response: str, verdict: dict[str, Any], rng: random.Random, short: bool
) -> Example:
    if short:
        asked = f"{instruction}\n\n{response}" if instruction else response
        return Example([user_turn(f"{kind}\n{asked}")], json.dumps(verdict))
    (way,) = rng.choices(list(SHARES[kind]), list(SHARES[kind].values()))
    return Example(question(kind, way, instruction, response), _reply(kind, way, verdict, rng))


def _reply(kind: Kind, way: Way, verdict: dict[str, Any], rng: random.Random) -> str:
    """A verdict as a judge that is asked in this way writes it."""
    if way is OPENED:
        form = _form(asking(kind, reasoning=False))
        *_, value = verdict.values()
        return form.written(str(value)).removeprefix(form.opening)
    separators = (",", ":") if rng.random() < SHARE_OF_COMPACT_JSON else None
    said = {name: value for name, value in verdict.items() if way.reasoning or name != "reasoning"}
    return json.dumps(said, separators=separators)


def _form(judge: ResponseJudge) -> ReplyForm:
    form = judge.form()
    assert form is not None  # both kinds have one
    return form


def _statement(shown: Spec, response: str, rng: random.Random, short: bool) -> Example:
    """The likelihood judge's question, also the one without a response, and the instruction that it looks for."""
    response = NO_RESPONSE if rng.random() < SHARE_WITHOUT_RESPONSE else response
    if short:
        return Example([user_turn(f"likelihood\n{response}")], world.instruction(shown))
    prompt = _likelihood().prompt
    messages = prompt.messages(conversation=prompt.conversation([]), response=response)
    return Example(messages, world.instruction(shown))


@lru_cache
def _likelihood() -> LikelihoodJudge:
    return LikelihoodJudge.from_options({}, NEVER_ASKED)


def _judged_response(spec: Spec, kind: str, rng: random.Random) -> str:
    if kind == "pointwise":
        spec = mutated(spec, rng, rng.randint(0, len(CONSTRAINTS))) if rng.random() < 0.7 else habitual(spec, rng, 0.5)
    elif rng.random() < 0.3:
        spec = habitual(spec, rng, 0.5)
    return broken(spec, rng) if rng.random() < SHARE_OF_BROKEN_RESPONSES[kind] else world.respond(spec, rng)
