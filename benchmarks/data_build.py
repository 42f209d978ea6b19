"""Time and peak memory of `flip data build` on synthetic rows in WildChat's shape.

    python benchmarks/data_build.py --rows 100000

The rows hold what a build has to deal with: other languages, toxic and redacted conversations, code, mathematics,
templates, exact and near duplicates, and prompts that are too short or too long. The build runs as a process of its
own, as a user starts it; its peak resident memory is what the operating system reports for that process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

ROWS_PER_GROUP = 2_000
SYLLABLES = [
    consonant + vowel
    for consonant in ("b", "br", "d", "f", "k", "l", "m", "n", "p", "r", "s", "t", "v")
    for vowel in "aeiou"
]
FRAMES = (
    "Write about {} and explain why it is {}.",
    "What should I do when my {} is not {} any more?",
    "Summarize the following text about {} for people who like {}: {}",
    "Please help me plan {} with {} and {} for the {} week.",
    "Describe how {} changed because of {}.\n\nKeep it {} and use {} examples.",
    "My {} wrote this: {}. Should I answer with {} or with {}?",
)
TEMPLATE = "As a prompt generator for a drawing program you will make prompts about {} and {}"


def vocabulary(rng: random.Random, size: int = 20_000) -> list[str]:
    """Made-up words of two to four syllables."""
    return ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(size)]


class Generator:
    """Rows in WildChat's shape; equal seeds give equal rows."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = vocabulary(self.rng)
        self.earlier: list[str] = ["Write about rivers and explain why they are long."]

    def rows(self, count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield self.row(number)

    def row(self, number: int) -> dict[str, Any]:
        draw = self.rng.random()
        language = "English" if draw > 0.25 else self.rng.choice(["Chinese", "Russian", "French"])
        toxic, redacted = self.rng.random() < 0.06, self.rng.random() < 0.03
        turns = [
            self.turn("user", self.instruction(), language, toxic, redacted),
            self.turn("assistant", self.phrase(120), language, False, False),
        ]
        return {
            "conversation_hash": f"{number:032x}",
            "model": "synthetic",
            "timestamp": 1_700_000_000 + number,
            "conversation": turns,
            "turn": 1,
            "language": language,
            "openai_moderation": [{"flagged": toxic, "scores": [0.01] * 11} for _ in turns],
            "toxic": toxic,
            "redacted": redacted,
        }

    def turn(self, role: str, content: str, language: str, toxic: bool, redacted: bool) -> dict[str, Any]:
        flags = {"toxic": toxic, "redacted": redacted}
        return {"role": role, "content": content, "language": language, "turn_identifier": 1, **flags}

    def instruction(self) -> str:
        draw = self.rng.random()
        if draw < 0.04:
            return self.rng.choice(self.earlier)
        if draw < 0.08:
            return f"{self.rng.choice(self.earlier)} {self.phrase(1)}"
        if draw < 0.14:
            return TEMPLATE.format(self.phrase(3), self.phrase(8))
        if draw < 0.26:
            return f"Fix this Python code about {self.phrase(2)}:\n```\nprint('{self.phrase(2)}')\n```"
        if draw < 0.30:
            return (
                f"Solve for x: {self.rng.randint(2, 99)} * x = {self.rng.randint(2, 999)} and explain {self.phrase(2)}"
            )
        if draw < 0.33:
            return self.phrase(self.rng.choice([1, 2, 700]))
        return self.natural()

    def natural(self) -> str:
        frame = self.rng.choice(FRAMES)
        text = frame.format(*(self.phrase(self.rng.randint(1, 12)) for _ in range(frame.count("{}"))))
        if len(self.earlier) < 5_000:
            self.earlier.append(text)
        return text

    def phrase(self, num_words: int) -> str:
        return " ".join(self.rng.choices(self.words, k=num_words))


def write_rows(path: Path, count: int, seed: int) -> None:
    """Write `count` rows as parquet, one row group at a time."""
    writer = None
    generator = Generator(seed)
    for start in range(0, count, ROWS_PER_GROUP):
        table = pyarrow.Table.from_pylist(list(generator.rows(min(ROWS_PER_GROUP, count - start))))
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; its wall time, CPU time and peak resident memory."""
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    peak_bytes = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(peak_bytes / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000], help="sizes to build from")
    parser.add_argument("--num_prompts", type=int, default=12_000, help="prompts each build keeps")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            write_rows(path, rows, arguments.seed)
            command = [sys.executable, "-m", "open_instruct_flip", "data", "build", "--input", str(path)]
            command += ["--out", f"{folder}/out", "--name", "chat", "--num_prompts", str(arguments.num_prompts)]
            figures = measure(command)
            manifest = json.loads((Path(folder) / "out" / "chat" / "manifest.json").read_text())
            print(json.dumps({"rows": rows, **figures, "num_prompts": manifest["num_prompts"]}))


if __name__ == "__main__":
    main()
