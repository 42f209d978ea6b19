"""Token F1 over GRPO groups against SQuAD's formula written plainly: how much faster, and whether it is the same.

    python benchmarks/similarity.py

A group is one instruction and the instructions inferred from 8 responses, all of about as many words. Words are drawn
with Zipf's law from a vocabulary of 20,000, with capitals, punctuation and articles as in English. "typographic" has
curly apostrophes and some accents, as models write them; in "Cyrillic" most words are not ASCII. Twice as fast is
enough: a judge's reply takes ten thousand times as long.
"""

from __future__ import annotations

import itertools
import random
import re
import statistics
import string
import time
from collections import Counter
from collections.abc import Callable

import click
from report import machine, show, write

from open_instruct_flip.similarity.f1 import f1_score

GROUP_SIZE = 8
VOCABULARY = 20_000
LENGTHS = (20, 100, 500)
KINDS = ("ASCII", "typographic", "Cyrillic")
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
MAX_DIFFERENCE = 1e-12
Group = tuple[str, list[str]]


def plain_f1(inferred: str, instruction: str) -> float:
    """SQuAD's `normalize_answer` and `f1_score`, as the formula is usually written."""
    a, b = _plain_tokens(inferred), _plain_tokens(instruction)
    common = sum((Counter(a) & Counter(b)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(a), common / len(b)
    return 2 * precision * recall / (precision + recall)


def _plain_tokens(text: str) -> list[str]:
    punctuation = set(string.punctuation)
    text = "".join(char for char in text.lower() if char not in punctuation)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split()).split()


def make_groups(kind: str, words: int, count: int) -> list[Group]:
    """Groups of texts of about so many words, equal for equal arguments."""
    rng = random.Random(f"{kind} {words}")
    letters = CYRILLIC if kind == "Cyrillic" else string.ascii_lowercase
    vocabulary = ["the", "a", "of", "and", "to", "in", "an", "is"]
    vocabulary += ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(VOCABULARY - len(vocabulary))]
    if kind == "typographic":
        vocabulary[50::50] = [word + "é" for word in vocabulary[50::50]]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    apostrophe = "'" if kind == "ASCII" else "’"

    def text() -> str:
        chosen = rng.choices(vocabulary, cum_weights=weights, k=words)
        marks = rng.choices([" ", ", ", ". ", f"{apostrophe}s "], [85, 8, 5, 2], k=words)
        return "".join((w.title() if m == ". " else w) + m for w, m in zip(chosen, marks, strict=True))

    return [(text(), [text() for _ in range(GROUP_SIZE)]) for _ in range(count)]


def best_time_s(score: Callable[[str, str], object], groups: list[Group], repeats: int) -> float:
    """The shortest CPU time of several passes: other load on the machine only ever adds to it."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        for instruction, inferred in groups:
            for one in inferred:
                score(one, instruction)
        times.append(time.process_time() - started)
    return min(times)


@click.command()
@click.option("--groups", default=50, show_default=True, help="Groups of each length.")
@click.option("--repeats", default=7, show_default=True, help="Passes; the fastest counts.")
@click.option("--out", default="runs/bench/similarity.json", show_default=True, help="File for the results.")
def main(groups: int, repeats: int, out: str) -> None:
    """Compare token F1 with the plain formula."""
    rows = []
    for kind in KINDS:
        for words in LENGTHS:
            data = make_groups(kind, words, groups)
            plain_s, ours_s = best_time_s(plain_f1, data, repeats), best_time_s(f1_score, data, repeats)
            pairs = [(one, instruction) for instruction, inferred in data for one in inferred]
            rows.append(
                {
                    "text": kind,
                    "words": words,
                    "plain us": 1e6 * plain_s / len(pairs),
                    "ours us": 1e6 * ours_s / len(pairs),
                    "times faster": plain_s / ours_s,
                    "largest difference": max(abs(plain_f1(*pair) - f1_score(*pair).f1) for pair in pairs),
                }
            )
    show(f"Token F1, groups of {GROUP_SIZE}, CPU time per pair", rows)
    faster = [float(row["times faster"]) for row in rows]
    print(f"median {statistics.median(faster):.1f} times faster (wanted: 2), worst {min(faster):.1f}")
    write(out, {"machine": machine(), "rows": rows})
    if max(float(row["largest difference"]) for row in rows) > MAX_DIFFERENCE:
        raise click.ClickException(f"the results differ from the plain formula by more than {MAX_DIFFERENCE}")


if __name__ == "__main__":
    main()
