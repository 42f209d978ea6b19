"""What a judgement costs on a real vLLM server: tokens, rollouts per second, cached prefixes; and vLLM's own client.

    python benchmarks/judge_cost.py --vllm_python ~/vllm/bin/python          # on this machine, with the local judge
    python benchmarks/judge_cost.py --api_base http://HOST:8001/v1 --model Qwen/Qwen3-4B --tokenizer Qwen/Qwen3-4B

Responses come from the instruction world, in groups of 8. The last row is `vllm bench serve` on the requests of the
first: the same prompts with the chat template applied, the same limits, the same number in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import click
from local_vllm import LOCAL_JUDGE, vllm_judge
from report import machine, show, write

from open_instruct_flip import FlipJudge
from open_instruct_flip.local import world

GROUP_SIZE = 8
VARIANTS: dict[str, dict[str, Any]] = {
    "reasoning, then instruction": {},
    "instruction only": {"reasoning": False},
    "structured output": {"reply_contract": "schema"},
    "thinking allowed": {"thinking": True},
    "4 samples": {"num_samples": 4, "temperature": 0.7},
}
BENCH = (
    "from vllm.utils.argparse_utils import FlexibleArgumentParser as P; from vllm.benchmarks import serve; "
    "p = P(); serve.add_cli_args(p); serve.main(p.parse_args())"
)

Group = tuple[str, list[str]]


def make_groups(count: int, seed: int) -> list[Group]:
    """Instructions of the world, each with responses to itself and to others."""
    rng = random.Random(seed)
    specs = rng.choices(world.all_specs(), k=count)
    return [(world.instruction(spec), [world.respond(spec, rng) for _ in range(GROUP_SIZE)]) for spec in specs]


async def measure(url: str, model: str, groups: list[Group], in_flight: int, options: dict[str, Any]) -> dict[str, Any]:
    """Judge all groups at once."""
    before = prefix_cache(url)
    async with FlipJudge(
        f"hosted_vllm/{model}", url, judge_transport="direct", max_concurrency=in_flight, max_tokens=128,
        timeout_s=600.0, **options,
    ) as judge:  # fmt: skip
        started = time.perf_counter()
        judged = await asyncio.gather(
            *(judge.score([{"role": "user", "content": text}], responses) for text, responses in groups)
        )
        wall_s = time.perf_counter() - started
    rewards = [reward for group in judged for reward in group]
    asked, hit = (now - then for now, then in zip(prefix_cache(url), before, strict=True))
    scores = [reward.score for reward in rewards if reward.score is not None]
    requests = sum(reward.usage.requests for reward in rewards) or 1
    return {
        "prompt tokens": sum(reward.usage.prompt_tokens for reward in rewards) / requests,
        "completion tokens": sum(reward.usage.completion_tokens for reward in rewards) / requests,
        "rollouts/s": len(rewards) / wall_s,
        "requests/s": requests / wall_s,
        "prefix cache": hit / asked if asked else None,
        "mean F1": sum(scores) / len(scores) if scores else None,
        "failures": len(rewards) - len(scores),
    }


def prefix_cache(url: str) -> tuple[float, float]:
    """Tokens that were looked for in the server's prefix cache, and tokens that were found, since it started."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    queries, hits = (
        sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:prefix_cache_{name}_total"))
        for name in ("queries", "hits")
    )
    return queries, hits


def bench_serve(
    python: str, url: str, model: str, tokenizer: str, groups: list[Group], in_flight: int
) -> dict[str, Any]:
    """`vllm bench serve` on the distinct requests of the first variant."""
    from transformers import AutoTokenizer

    template = AutoTokenizer.from_pretrained(tokenizer)
    judge = FlipJudge("hosted_vllm/judge", url)
    distinct = [response for _, responses in groups for response in dict.fromkeys(responses)]
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "requests.jsonl").open("w", encoding="utf-8") as file:
            for response in distinct:
                chat = judge.build_messages([], response)
                text = template.apply_chat_template(
                    chat, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
                file.write(json.dumps({"prompt": text}) + "\n")
        command = [python, "-c", BENCH, "--base-url", url.removesuffix("/v1"), "--model", model]
        command += ["--tokenizer", tokenizer, "--dataset-name", "custom", "--dataset-path", file.name]
        command += ["--skip-chat-template", "--custom-output-len", "128", "--num-prompts", str(len(distinct))]
        command += ["--max-concurrency", str(in_flight), "--temperature", "0", "--disable-shuffle", "--disable-tqdm"]
        command += ["--save-result", "--result-dir", folder, "--result-filename", "result.json"]
        before = prefix_cache(url)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"vllm bench serve failed:\n{run.stderr[-2000:]}")
        result = json.loads((Path(folder) / "result.json").read_text())
    asked, hit = (now - then for now, then in zip(prefix_cache(url), before, strict=True))
    return {
        "prompt tokens": result["total_input_tokens"] / result["completed"],
        "completion tokens": result["total_output_tokens"] / result["completed"],
        "rollouts/s": None,
        "requests/s": result["request_throughput"],
        "prefix cache": hit / asked if asked else None,
        "mean F1": None,
        "failures": len(distinct) - result["completed"],
    }


@click.command()
@click.option("--api_base", help="A running vLLM server; else one is started with the local judge.")
@click.option("--model", default="", help="Its model.")
@click.option("--tokenizer", default=str(LOCAL_JUDGE), help="Its tokenizer, for vLLM's own client.")
@click.option("--vllm_python", help="Python of the environment that holds vLLM, where it is another.")
@click.option("--groups", default=64, show_default=True, help="Groups of 8 responses for each row.")
@click.option("--in_flight", default=64, show_default=True, help="Requests in flight.")
@click.option(
    "--repeats", default=3, show_default=True, help="Rounds over all rows; the table holds each row's fastest."
)
@click.option("--out", default="runs/bench/judge_cost.json", show_default=True, help="File for the results.")
def main(
    api_base: str | None, model: str, tokenizer: str, vllm_python: str | None, groups: int, in_flight: int,
    repeats: int, out: str,
) -> None:  # fmt: skip
    """Measure what a judgement costs."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in [*VARIANTS, "vllm bench serve"]}
    with contextlib.ExitStack() as stack:
        if api_base is None:
            server = stack.enter_context(vllm_judge(vllm_python))
            api_base, model = server.api_base, server.model_name
        asyncio.run(measure(api_base, model, make_groups(4, seed=0), in_flight, {}))
        for repeat in range(repeats):
            for number, (name, options) in enumerate(VARIANTS.items()):
                click.echo(f"round {repeat + 1}: {name}", err=True)
                data = make_groups(groups, seed=100 * repeat + number + 1)
                runs[name].append(asyncio.run(measure(api_base, model, data, in_flight, options)))
            data = make_groups(groups, seed=100 * repeat + 99)
            python = vllm_python or sys.executable
            runs["vllm bench serve"].append(bench_serve(python, api_base, model, tokenizer, data, in_flight))
    rows = [{"variant": name, **max(of_row, key=lambda run: run["requests/s"])} for name, of_row in runs.items()]
    for row in rows:
        row["of bench serve"] = row["requests/s"] / rows[-1]["requests/s"]
    show(f"{groups} groups of {GROUP_SIZE}, {in_flight} in flight, tokens per request", rows)
    settings = {"groups": groups, "in_flight": in_flight, "repeats": repeats, "model": model}
    write(out, {"machine": machine(), "settings": settings, "runs": runs, "table": rows})


if __name__ == "__main__":
    main()
