"""How long the page of `flip eval report` takes to open: a folder of made-up judgements, and headless Chromium.

`python benchmarks/report_page.py DIR [JUDGEMENTS]` writes the judgements and the page into DIR, opens it three times
with Debian's `chromium`, and prints the time from the start of the load to the layout of the first items.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

JUDGES = ("flip", "flip@other", "pointwise", "pairwise", "likelihood")
SUBSETS = ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")
TEXT = (
    "write a short poem about the cold sea in winter list three causes of soil loss explain how one bridge carries "
    "its load and why steel rusts compare two ways to learn names of birds with their songs plan meals for five days"
)
WORDS = TEXT.split()
TIMER = """<script>
document.body.offsetHeight; // lays the page out
const drawn = document.querySelectorAll("article").length;
document.title = `laid out after ${performance.now().toFixed(0)} ms, ${drawn} items drawn`;
</script>"""
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom")


def text(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def judgement(rng: random.Random, judge: str, instruction: str, is_right: bool) -> dict[str, Any]:
    if rng.random() < 0.05:
        failure = rng.choice([("unreadable_reply", "no JSON object"), ("timeout", "no answer in 60 s")])
        return {"score": None, "error": failure[0], "detail": failure[1], "reply": text(rng, 5, 30)}
    found: dict[str, Any] = {"score": min(1.0, max(0.0, rng.gauss(0.55 if is_right else 0.4, 0.2))), "error": None}
    found["reply"] = json.dumps({"reasoning": text(rng, 10, 40), "score": round(found["score"], 2)})
    if judge.startswith("flip"):
        kept = [word for word in instruction.split() if rng.random() < found["score"]]
        found["inferred_instruction"] = " ".join(kept) + " " + text(rng, 2, 6)
    if judge == "likelihood":
        pieces = re.findall(r"\w{1,5} ?|\W", instruction)
        found |= {
            "reply": None,
            "tokens": [[piece, round(-rng.expovariate(0.5), 3), round(-rng.expovariate(0.3), 3)] for piece in pieces],
        }
    return found


def judgements(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of `judgements.jsonl`: pairs, each judged by every one of `JUDGES`."""
    rng, rows = random.Random(seed), []
    for number in range(count // (2 * len(JUDGES))):
        instruction = text(rng, 8, 40).capitalize() + "."
        responses = [text(rng, 20, 200), text(rng, 20, 200)]
        right = rng.randrange(2)
        subset = SUBSETS[number % len(SUBSETS)]
        for judge in JUDGES:
            for index, response in enumerate(responses):
                row = {"benchmark": "made up", "subset": subset, "item": f"{subset}/{number}", "judge": judge}
                row |= {"model": "none", "run": 0, "response_index": index, "right": index == right}
                row |= {"conversation": [{"role": "user", "content": instruction}], "response": response}
                row |= {
                    "prompt_tokens": 200,
                    "completion_tokens": 40,
                    "requests": 1,
                    "latency_s": rng.uniform(0.2, 0.6),
                }
                rows.append(row | judgement(rng, judge, instruction, index == right))
    return rows


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    folder.mkdir(parents=True, exist_ok=True)
    rows = judgements(count)
    (folder / "judgements.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    page, timed = folder / "report.html", folder / "timed.html"
    subprocess.run(
        [sys.executable, "-m", "open_instruct_flip", "eval", "report", str(folder), "--out", str(page)], check=True
    )
    timed.write_text(page.read_text("utf-8").replace("</body>", f"{TIMER}</body>"), "utf-8")
    for _ in range(3):
        command = [*CHROMIUM, timed.resolve().as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        print(re.search("<title>(.*?)</title>", dom)[1])  # type: ignore[index]  # without a title this has to fail


if __name__ == "__main__":
    main()
