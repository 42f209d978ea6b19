"""What a policy learnt from a judge: the same held-out prompts answered before and after, and judged by others too.

    python benchmarks/policy.py split datasets/general_chat/general_chat_flip --tokenizer MODEL --out DIR
    python examples/trl_grpo_flip.py --model_name_or_path MODEL --dataset DIR/train --output_dir DIR/policy ...
    python benchmarks/policy.py answer MODEL --prompts DIR/heldout.jsonl --out DIR/before.jsonl
    python benchmarks/policy.py answer DIR/policy --prompts DIR/heldout.jsonl --out DIR/after.jsonl
    flip score DIR/before.jsonl DIR/before.JUDGE.jsonl ...      # each judge, and the same for after
    python benchmarks/policy.py table --before DIR/before.*.jsonl --after DIR/after.*.jsonl
    python benchmarks/policy.py curve NAME=DIR/policy ... --picture curve.png

`split` keeps conversations of one turn and few tokens, every sixth of them held out, in their order. `table` compares
files by their order, one pair for each judge. Its errors are those of the mean difference over prompts: the samples of
a prompt are averaged first, since they are no independent draws. `curve` reads the completions that TRL writes with
`--log_completions true`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from report import show, write

from open_instruct_flip.similarity.copying import copy_rate
from open_instruct_flip.similarity.f1 import f1_score

Row = dict[str, Any]


def split(arguments: argparse.Namespace) -> None:
    """Write DIR/train, a dataset folder, and DIR/heldout.jsonl, rows of `messages`."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)

    def is_short(row: Row) -> bool:
        ids = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True)["input_ids"]
        return len(row["messages"]) == 1 and len(ids) <= arguments.max_prompt_tokens

    rows = load_dataset(arguments.dataset, split="train").filter(is_short)
    heldout = range(0, len(rows), 6)
    out = Path(arguments.out)
    (out / "train").mkdir(parents=True, exist_ok=True)
    rows.select([i for i in range(len(rows)) if i not in heldout]).to_parquet(out / "train" / "train.parquet")
    write_rows(out / "heldout.jsonl", [{"messages": rows[i]["messages"]} for i in heldout])
    print(f"{len(rows) - len(heldout)} prompts to train on, {len(heldout)} held out")


def answer(arguments: argparse.Namespace) -> None:
    """Sample responses to each prompt, into rows for `flip score`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
    model = load(arguments.model, AutoModelForCausalLM).eval()
    rows = read_rows(arguments.prompts)
    for start in range(0, len(rows), arguments.batch_size):
        batch = rows[start : start + arguments.batch_size]
        chats = [row["messages"] for row in batch]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            replies = model.generate(
                **inputs,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=arguments.samples,
                max_new_tokens=arguments.max_new_tokens,
            )
        texts = tokenizer.batch_decode(replies[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for number, row in enumerate(batch):
            row["responses"] = texts[number * arguments.samples : (number + 1) * arguments.samples]
    write_rows(arguments.out, rows)


def load(folder: str, auto: Any) -> Any:
    """A model, or a LoRA adapter with its base."""
    if not (Path(folder) / "adapter_config.json").is_file():
        return auto.from_pretrained(folder, dtype="float32")
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(folder, dtype="float32")


def table(arguments: argparse.Namespace) -> None:
    """One row for each judge, then what needs none: copying, overlap, length, variety."""
    found = [
        {"measure": Path(after).stem.partition(".")[2], **change(rewards(before), rewards(after))}
        for before, after in zip(arguments.before, arguments.after, strict=True)
    ]
    before, after = read_scored(arguments.before[0]), read_scored(arguments.after[0])
    for name, measure in MEASURES.items():
        found.append({"measure": name, **change(by_prompt(before, measure), by_prompt(after, measure))})
    variety = {"before": distinct(before), "after": distinct(after)}
    found.append({"measure": "distinct 2-grams", **variety, "change": variety["after"] - variety["before"], "se": None})
    show("Held-out prompts, before and after", found)
    if arguments.out:
        write(arguments.out, {"rows": found})


def rewards(file: str) -> dict[str, float]:
    """Mean reward of each prompt's responses; those without a reward are left out, and counted aloud."""
    rows = read_scored(file)
    judged = [row for row in rows if row["reward"] is not None]
    if len(judged) < len(rows):
        print(f"{file}: {len(rows) - len(judged)} of {len(rows)} responses have no reward")
    return by_prompt(judged, lambda row: row["reward"])


def by_prompt(rows: Sequence[Row], measure: Any) -> dict[str, float]:
    """Mean of a measure over each prompt's responses."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[instruction(row)].append(measure(row))
    return {prompt: fmean(of_prompt) for prompt, of_prompt in values.items()}


def instruction(row: Row) -> str:
    """The last user turn of a scored row."""
    return str(row["messages"][-1]["content"])


def change(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Means before and after over the prompts that have both, their difference and its standard error."""
    both = sorted(before.keys() & after.keys())
    differences = [after[prompt] - before[prompt] for prompt in both]
    return {
        "before": fmean(before[prompt] for prompt in both),
        "after": fmean(after[prompt] for prompt in both),
        "change": fmean(differences),
        "se": stdev(differences) / math.sqrt(len(differences)),
    }


MEASURES = {
    "share of the instruction's 5-grams copied": lambda row: copy_rate(row["response"], instruction(row)),
    "F1 of the response with the instruction": lambda row: f1_score(row["response"], instruction(row)).f1,
    "words": lambda row: float(len(row["response"].split())),
}


def curve(arguments: argparse.Namespace) -> None:
    """Reward, copying and overlap in the course of training, in stretches of some steps."""
    runs = dict(run.split("=", 1) for run in arguments.runs)
    stretches = {name: course(folder, arguments.stretch) for name, folder in runs.items()}
    for name, rows in stretches.items():
        show(name, rows)
    if arguments.picture:
        draw(stretches, arguments.picture)


def course(folder: str, stretch: int) -> list[Row]:
    """One row for each stretch of a run's steps."""
    import pandas

    files = sorted((Path(folder) / "completions").glob("*.parquet"))
    rows = pandas.concat(map(pandas.read_parquet, files)).to_dict("records")
    reward = list(rows[0])[list(rows[0]).index("completion") + 1]  # TRL's next column is the first reward function's
    of_stretch: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        asked = {"messages": row["prompt"], "response": row["completion"][-1]["content"], "reward": row[reward]}
        asked["step"] = row["step"]
        of_stretch[(row["step"] - 1) // stretch].append(asked)
    return [
        {
            "steps": f"{number * stretch + 1} to {max(row['step'] for row in own)}",
            "reward": fmean(row["reward"] for row in own),
            **{name: fmean(map(measure, own)) for name, measure in MEASURES.items()},
            "distinct 2-grams": distinct(own),
        }
        for number, own in sorted(of_stretch.items())
    ]


def draw(stretches: dict[str, list[Row]], picture: str) -> None:
    """Reward and copy rate of each run, side by side."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.2), sharex=True, layout="constrained")
    for panel, column in zip(panels, ("reward", next(iter(MEASURES))), strict=True):
        for name, rows in stretches.items():
            ends = [int(row["steps"].rpartition(" ")[2]) for row in rows]
            panel.plot(ends, [row[column] for row in rows], marker="o", markersize=4, label=name)
        panel.set(title=column, xlabel="step", ylim=(0, 1))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(picture, dpi=150)


def distinct(rows: Sequence[Row]) -> float:
    """Distinct word pairs as a share of all, over all responses together."""
    pairs = [pair for row in rows for pair in zip(row["response"].split(), row["response"].split()[1:], strict=False)]
    return len(set(pairs)) / len(pairs)


def read_scored(file: str | Path) -> list[Row]:
    """What `flip score` wrote of NAME.jsonl into NAME.JUDGE.jsonl, each row with its conversation and response."""
    answered = read_rows(Path(file).with_name(f"{Path(file).name.partition('.')[0]}.jsonl"))
    return [
        row | {"messages": answered[row["id"]]["messages"], "response": answered[row["id"]]["responses"][row["index"]]}
        for row in read_rows(file)
    ]


def read_rows(file: str | Path) -> list[Row]:
    """JSON lines."""
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def write_rows(file: str | Path, rows: Sequence[Row]) -> None:
    """JSON lines."""
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    to_split = commands.add_parser("split")
    to_split.add_argument("dataset")
    to_split.add_argument("--tokenizer", required=True)
    to_split.add_argument("--max_prompt_tokens", type=int, default=80)
    to_split.add_argument("--out", required=True)
    to_split.set_defaults(run=split)
    to_answer = commands.add_parser("answer")
    to_answer.add_argument("model")
    to_answer.add_argument("--prompts", required=True)
    to_answer.add_argument("--samples", type=int, default=4)
    to_answer.add_argument("--max_new_tokens", type=int, default=64)
    to_answer.add_argument("--batch_size", type=int, default=8)
    to_answer.add_argument("--seed", type=int, default=0)
    to_answer.add_argument("--out", required=True)
    to_answer.set_defaults(run=answer)
    to_tabulate = commands.add_parser("table")
    to_tabulate.add_argument("--before", nargs="+", required=True)
    to_tabulate.add_argument("--after", nargs="+", required=True)
    to_tabulate.add_argument("--out")
    to_tabulate.set_defaults(run=table)
    to_draw = commands.add_parser("curve")
    to_draw.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    to_draw.add_argument("--stretch", type=int, default=10)
    to_draw.add_argument("--picture")
    to_draw.set_defaults(run=curve)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
