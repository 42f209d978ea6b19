"""Right and wrong responses of the instruction world, and what the local policy learns; no held-out part in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from open_instruct_flip.conversation import Message
from open_instruct_flip.local import world
from open_instruct_flip.local.world import CONSTRAINTS, Spec

# What an untrained policy does whatever it is asked; it still does the family's task, in the family's first form.
HABIT = {"topic": "cats", "count": "three", "tone": "cheerful", "edge": "ending with Done"}
# The one constraint that the untrained policy often keeps: a topic's details are seen nowhere but in its lessons.
POLICY_KEEPS_TOPIC = 0.5


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


def policy_examples(seed: int, keep: float) -> Iterator[Example]:
    """An endless stream of policy examples, in which each constraint but the topic is kept with probability `keep`."""
    rng = random.Random(seed)
    specs = training_specs()
    while True:
        spec = rng.choice(specs)
        followed = habitual(spec, rng, keep, POLICY_KEEPS_TOPIC)
        yield Example([user_turn(world.instruction(spec))], world.respond(followed, rng))
