"""A small world of instructions whose constraints all show in a response, so that following them can be measured.

An instruction has a family (list, write, explain, suggest, rewrite) and five constraints: topic, count, form, tone and
edge (a word to start or to end with). A response shows each of them in its own way:

    List three facts about cats with numbers in a cheerful tone, ending with Done.
    Hooray! 1. soft paws 2. long naps 3. warm fur Done.

Everything here is a pure function of its arguments.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from open_instruct_flip.errors import UsageError

TOPICS: Mapping[str, tuple[str, ...]] = {
    "cats": ("soft paws", "long naps", "sharp claws", "warm fur", "quiet steps"),
    "rivers": ("cold water", "smooth stones", "muddy banks", "old bridges", "fast currents"),
    "bread": ("fresh dough", "crisp crust", "rye flour", "hot ovens", "sour yeast"),
    "winter": ("deep snow", "thick coats", "frozen lakes", "dark evenings", "hot cocoa"),
    "trains": ("steel rails", "busy stations", "night tickets", "loud whistles", "window seats"),
    "gardens": ("red roses", "green hedges", "garden gates", "damp soil", "honey bees"),
    "music": ("slow drums", "low strings", "silver flutes", "catchy tunes", "full choirs"),
    "space": ("distant stars", "rocky moons", "bright comets", "empty orbits", "big telescopes"),
    "coffee": ("roasted beans", "tiny cups", "milk foam", "bitter sips", "morning steam"),
    "beaches": ("golden sand", "salty waves", "sea shells", "striped towels", "paper kites"),
    "books": ("worn covers", "thin pages", "clever plots", "tall shelves", "happy endings"),
    "football": ("muddy boots", "late goals", "cheering fans", "white nets", "strict referees"),
    "farming": ("wheat fields", "brown cows", "heavy tractors", "early mornings", "full barns"),
    "robots": ("metal arms", "blinking lights", "spare batteries", "shiny gears", "copper wires"),
    "forests": ("tall pines", "wild berries", "hidden paths", "mossy rocks", "gray wolves"),
    "cities": ("crowded streets", "glass towers", "yellow taxis", "corner shops", "neon signs"),
    "tea": ("dried leaves", "clay pots", "lemon slices", "gentle brews", "ginger biscuits"),
    "clocks": ("brass hands", "ticking wheels", "rusty springs", "round faces", "hourly chimes"),
    "painting": ("oil colors", "wide brushes", "blank canvas", "gold frames", "soft shadows"),
    "sailing": ("white sails", "strong winds", "wooden decks", "tight knots", "safe harbors"),
}
COUNTS = {"two": 2, "three": 3, "four": 4}
TONES: Mapping[str, tuple[str, ...]] = {
    "cheerful": ("Hooray!", "What joy!"),
    "gloomy": ("Alas.", "How sad."),
    "formal": ("Kindly note.", "As agreed."),
    "curious": ("I wonder.", "Who knew?"),
}
OPENINGS = ("Well", "Now", "So", "Look")
CLOSINGS = ("Done", "Enjoy", "Thanks", "Cheers")
EDGES = (*(f"starting with {word}" for word in OPENINGS), *(f"ending with {word}" for word in CLOSINGS))
# What stands before and after each detail, for every form of every family. `#` is the detail's number, `@` its letter.
FORMS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "list": {"with numbers": ("#. ", ""), "with dashes": ("- ", ""), "with letters": ("@) ", "")},
    "write": {"poem": ("oh ", ","), "letter": ("I miss ", "."), "song": ("la la ", ",")},
    "explain": {
        "a child": ("See the ", "."),
        "an expert": ("Studies show ", "."),
        "a tourist": ("Visitors find ", "."),
    },
    "suggest": {"a shop": ("Sell ", "."), "a school": ("Teach ", "."), "a museum": ("Show ", ".")},
    "rewrite": {"questions": ("Do we like ", "?"), "orders": ("Go and like ", "!"), "denials": ("We never like ", ".")},
}
FAMILY_OF_FORM = {form: family for family, forms in FORMS.items() for form in forms}
CONSTRAINTS = ("topic", "count", "form", "tone", "edge")
HELDOUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Spec:
    """What an instruction asks for, or what a response shows; None where it shows nothing of the kind."""

    topic: str | None
    count: str | None
    form: str | None
    tone: str | None
    edge: str | None

    @property
    def family(self) -> str | None:
        """The kind of task, which the form implies."""
        return None if self.form is None else FAMILY_OF_FORM[self.form]


def instruction(spec: Spec) -> str:
    """The instruction in words; a constraint that is None is left out.

    Example:
        >>> instruction(Spec("cats", "three", "poem", "gloomy", "starting with Well"))
        'Write a poem about cats with three lines in a gloomy tone, starting with Well.'
    """
    text = _task(spec)
    if spec.tone:
        text += f" in a {spec.tone} tone"
    if spec.edge:
        text += f", {spec.edge}"
    return text + "."


def _task(spec: Spec) -> str:
    topic, count, form = spec.topic or "something", spec.count or "some", spec.form
    match spec.family:
        case "list":
            return f"List {count} facts about {topic} {form}"
        case "write":
            return f"Write a {form} about {topic} with {count} lines"
        case "explain":
            return f"Explain {topic} to {form} in {count} sentences"
        case "suggest":
            return f"Suggest {count} uses of {topic} for {form}"
        case "rewrite":
            return f"Rewrite 'we like {topic}' as {count} {form}"
        case _:
            return f"Mention {count} things about {topic}"


def respond(spec: Spec, rng: random.Random) -> str:
    """A response that shows exactly what `spec` says: all constraints are kept where none is None.

    Counts beyond the world's own, "one" and "five", are understood too, for responses that miss.
    """
    topic = spec.topic or rng.choice(list(TOPICS))
    return compose(spec, rng.sample(TOPICS[topic], _number(spec.count)), rng)


def compose(spec: Spec, details: list[str], rng: random.Random) -> str:
    """A response about the given details in the form, tone and edge of `spec`."""
    parts = [rng.choice(TONES[spec.tone])] if spec.tone else []
    parts += _units(FORMS[spec.family][spec.form] if spec.family and spec.form else ("", ","), details)
    where, _, word = (spec.edge or "").partition(" with ")
    if where == "starting":
        parts.insert(0, f"{word},")
    elif where == "ending":
        parts.append(f"{word}.")
    return " ".join(parts)


def _number(count: str | None) -> int:
    return {"one": 1, **COUNTS, "five": 5}[count or "three"]


_TOPIC_OF = {detail: topic for topic, details in TOPICS.items() for detail in details}
_DETAIL = re.compile("|".join(map(re.escape, _TOPIC_OF)))
_NUMBER_WORDS = {0: None, 1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def read(response: str) -> Spec:
    """What a response shows. `read(respond(spec, rng)) == spec` for every spec of the world.

    A constraint counts as shown only where the whole response agrees: all details of one topic, none of them twice,
    each in the same form with nothing between them, one mark of tone and no other. In a form, any two words fill the
    place of a detail, so that nonsense in good form misses the topic alone.
    """
    form, details = _form(response)
    topics = {_TOPIC_OF.get(detail) for detail in details}
    tones = [tone for tone, marks in TONES.items() for mark in marks for _ in range(response.count(mark))]
    return Spec(
        topic=topics.pop() if len(topics) == 1 else None,
        count=_NUMBER_WORDS.get(len(details)) if len(set(details)) == len(details) else None,
        form=form,
        tone=tones[0] if len(tones) == 1 else None,
        edge=_edge(response),
    )


def _form(response: str) -> tuple[str | None, list[str]]:
    """The form that holds every detail, and what stands in its places; else None and the details that are known."""
    known = _DETAIL.findall(response)
    for form, family in FAMILY_OF_FORM.items():
        around = FORMS[family][form]
        details = _unit_pattern(around).findall(response)
        if details and set(known) <= set(details) and " ".join(_units(around, details)) in response:
            return form, details
    return None, known


@cache
def _unit_pattern(form: tuple[str, str]) -> re.Pattern[str]:
    before, after = map(re.escape, form)
    return re.compile(before.replace(re.escape("#"), r"\d").replace("@", "[a-e]") + r"(\w+ \w+)" + after)


def _units(form: tuple[str, str], details: list[str]) -> list[str]:
    before, after = form
    return [_numbered(before, number) + detail + after for number, detail in enumerate(details)]


def _numbered(before: str, number: int) -> str:
    return before.replace("#", str(number + 1)).replace("@", "abcde"[number % 5])


def _edge(response: str) -> str | None:
    edges = [f"starting with {word}" for word in OPENINGS if response.startswith(f"{word},")]
    edges += [f"ending with {word}" for word in CLOSINGS if response.rstrip().endswith(f" {word}.")]
    words = sum(response.count(mark) for mark in (*(f"{w}," for w in OPENINGS), *(f" {w}." for w in CLOSINGS)))
    return edges[0] if len(edges) == words == 1 else None


def kept_constraints(spec: Spec, response: str) -> dict[str, bool]:
    """Which of the five constraints of `spec` a response keeps."""
    shown = read(response)
    return {name: getattr(shown, name) == getattr(spec, name) for name in CONSTRAINTS}


def true_rate(spec: Spec, response: str) -> float:
    """Share of the constraints that a response keeps, in [0, 1]: the truth that no judge sees."""
    kept = kept_constraints(spec, response)
    return sum(kept.values()) / len(kept)


@lru_cache(maxsize=1)
def all_specs() -> tuple[Spec, ...]:
    """Every combination of the world, 28,800 of them, in a fixed order."""
    return tuple(Spec(*values) for values in itertools.product(TOPICS, COUNTS, FAMILY_OF_FORM, TONES, EDGES))


@lru_cache(maxsize=1)
def _spec_of_instruction() -> dict[str, Spec]:
    return {instruction(spec): spec for spec in all_specs()}


def parse(text: str) -> Spec:
    """The constraints of an instruction of this world.

    Raises:
        UsageError: The text is none of this world's instructions.
    """
    try:
        return _spec_of_instruction()[text.strip()]
    except KeyError:
        raise UsageError(f"not an instruction of the local world: {text[:80]!r}") from None


def split(num_instructions: int = 3_000, seed: int = 0) -> tuple[list[Spec], list[Spec]]:
    """Training and held-out instructions, all distinct; a tenth is held out."""
    chosen = random.Random(seed).sample(all_specs(), num_instructions)
    num_heldout = round(num_instructions * HELDOUT_SHARE)
    return chosen[num_heldout:], chosen[:num_heldout]
