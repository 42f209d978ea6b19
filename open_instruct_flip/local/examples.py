"""Training examples for the local judge and policy, drawn from the instruction world without its held-out part."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.pointwise import PointwiseJudge
from open_instruct_flip.judges.response import ResponseJudge
from open_instruct_flip.local import world
from open_instruct_flip.local.models import TRAINED_FOR
from open_instruct_flip.local.world import CONSTRAINTS, Spec

# What an untrained policy does whatever it is asked; it still does the family's task, in the family's first form.
HABIT = {"topic": "cats", "count": "three", "tone": "cheerful", "edge": "ending with Done"}
SHARE_OF_BROKEN_RESPONSES = {"flip": 0.25, "pointwise": 0.4}
# The one constraint that the untrained policy often keeps: a topic's details are seen nowhere but in its lessons.
POLICY_KEEPS_TOPIC = 0.5
_REASONING = {
    "list": "A list.",
    "write": "A text.",
    "explain": "An explanation.",
    "suggest": "Suggestions.",
    "rewrite": "A rewrite.",
    None: "Unclear.",
}


@dataclass(frozen=True, slots=True)
class Example:
    """A chat and the reply to learn."""

    messages: list[Message]
    reply: str


def user_turn(content: str) -> Message:
    """A user's turn."""
    return {"role": "user", "content": content}


def training_specs() -> list[Spec]:
    """Every instruction of the world but the held-out ones."""
    heldout = set(world.split()[1])
    return [spec for spec in world.all_specs() if spec not in heldout]


def habitual(spec: Spec, rng: random.Random, keep: float, keep_topic: float | None = None) -> Spec:
    """`spec` with each constraint replaced by the habit with probability 1 - keep, the topic's with its own."""
    habit = {**HABIT, "form": next(iter(world.FORMS[spec.family or "list"]))}
    share = dict.fromkeys(CONSTRAINTS, keep) | ({} if keep_topic is None else {"topic": keep_topic})
    return replace(spec, **{name: habit[name] for name in CONSTRAINTS if rng.random() >= share[name]})


def mutated(spec: Spec, rng: random.Random, num_changes: int) -> Spec:
    """`spec` with that many constraints taken from another instruction; half the forms stay in their family."""
    other = rng.choice(world.all_specs())
    changed = rng.sample(CONSTRAINTS, num_changes)
    values = {name: getattr(other, name) for name in changed}
    if "form" in values and rng.random() < 0.5:
        values["form"] = rng.choice(list(world.FORMS[spec.family or "list"]))
    return replace(spec, **values)


def broken(spec: Spec, rng: random.Random) -> str:
    """A response with faults that no instruction asks for, of the kinds that a policy in training makes."""
    match rng.randrange(8):
        case 0:
            return world.respond(replace(spec, tone=None), rng)
        case 1:
            return world.respond(replace(spec, edge=None), rng)
        case 2:
            return world.respond(replace(spec, count=rng.choice(("one", "five"))), rng)
        case 3:
            pool = [*_details(spec), *world.TOPICS[rng.choice(list(world.TOPICS))]]
            return world.compose(spec, rng.choices(pool, k=rng.randint(1, 5)), rng)
        case 4 | 5:
            return world.compose(spec, _partly_nonsense(spec, rng), rng)
        case 6:
            words = world.respond(spec, rng).split()
            words.insert(rng.randrange(len(words)), words.pop(rng.randrange(len(words))))
            return " ".join(words)
        case _:
            words = world.respond(spec, rng).split()
            return " ".join(words[: rng.randint(1, len(words))])


def _details(spec: Spec) -> tuple[str, ...]:
    return world.TOPICS[spec.topic or HABIT["topic"]]


def _partly_nonsense(spec: Spec, rng: random.Random) -> list[str]:
    """Details of which at least one is two words that don't belong together: a policy's first way round a judge."""
    details = rng.sample(_details(spec), rng.randint(1, 5))
    for place in rng.sample(range(len(details)), rng.randint(1, len(details))):
        first, second = (rng.choice(world.TOPICS[topic]) for topic in rng.sample(list(world.TOPICS), 2))
        details[place] = f"{rng.choice(first.split())} {rng.choice(second.split())}"
    return details


def flip_reply(shown: Spec) -> str:
    """The reply of a FLIP judge that saw exactly what a response shows."""
    return json.dumps({"reasoning": _REASONING[shown.family], "instruction": world.instruction(shown)})


def pointwise_reply(spec: Spec, response: str) -> str:
    """The reply of a pointwise judge that knows the true rate: what is missed, and 1 to 10 points."""
    missed = [name for name, kept in world.kept_constraints(spec, response).items() if not kept]
    reasoning = f"Misses {', '.join(missed)}." if missed else "Misses nothing."
    return json.dumps({"reasoning": reasoning, "score": 1 + round(9 * world.true_rate(spec, response))})


def judge_messages(kind: str, response: str, instruction: str, short: bool) -> list[Message]:
    """The chat that asks a judge: the prompt in `prompts/`, or a short stand-in for the first stage of training."""
    if short:
        asked = response if kind == "flip" else f"{instruction}\n\n{response}"
        return [user_turn(f"{kind}\n{asked}")]
    judge = _asked_judge(kind)
    return judge.build_messages([user_turn(instruction)] if judge.sees_instruction else [], response)


@lru_cache
def _asked_judge(kind: str) -> ResponseJudge:
    """A judge that is only ever asked for its prompts."""
    nowhere: dict[str, Any] = {"model": "hosted_vllm/judge", "api_base": "http://127.0.0.1:9/v1", **TRAINED_FOR}
    return FlipJudge(**nowhere) if kind == "flip" else PointwiseJudge(**nowhere)


def judge_examples(seed: int, share_of_scores: float, short: bool) -> Iterator[Example]:
    """An endless stream of judge examples, FLIP and pointwise mixed."""
    rng = random.Random(seed)
    specs = training_specs()
    heldout = frozenset(world.split()[1])
    while True:
        spec = rng.choice(specs)
        kind = "pointwise" if rng.random() < share_of_scores else "flip"
        response = _judged_response(spec, kind, rng)
        shown = world.read(response)
        if kind == "flip" and shown in heldout:
            continue
        reply = flip_reply(shown) if kind == "flip" else pointwise_reply(spec, response)
        yield Example(judge_messages(kind, response, world.instruction(spec), short), reply)


def _judged_response(spec: Spec, kind: str, rng: random.Random) -> str:
    if kind == "pointwise":
        spec = mutated(spec, rng, rng.randint(0, len(CONSTRAINTS))) if rng.random() < 0.7 else habitual(spec, rng, 0.5)
    elif rng.random() < 0.3:
        spec = habitual(spec, rng, 0.5)
    return broken(spec, rng) if rng.random() < SHARE_OF_BROKEN_RESPONSES[kind] else world.respond(spec, rng)


def policy_examples(seed: int, keep: float) -> Iterator[Example]:
    """An endless stream of policy examples, in which each constraint but the topic is kept with probability `keep`."""
    rng = random.Random(seed)
    specs = training_specs()
    while True:
        spec = rng.choice(specs)
        followed = habitual(spec, rng, keep, POLICY_KEEPS_TOPIC)
        yield Example([user_turn(world.instruction(spec))], world.respond(followed, rng))
