"""`flip eval run --ray` on a Ray cluster of two nodes on this machine: who judged, and is it what one process judges?

    python benchmarks/two_nodes.py

Two nodes of one CPU each, every one with its own processes and object store, and a loopback judge. Pieces of items are
judged by one worker a node; each worker says which node it is on. The judgements must equal those of a run without Ray.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import ray
from loopback import loopback_judge
from ray.cluster_utils import Cluster
from report import machine, show

from open_instruct_flip.commands.main import run
from open_instruct_flip.eval import on_ray

JUDGE = ["--llm_judge_model", "hosted_vllm/judge", "--judge_transport", "direct", "--reply_contract", "free"]


class NamingPieceJudge(on_ray.PieceJudge):
    """Leaves a file with its node's name for each piece that it judges."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        where = Path(os.environ["FLIP_TWO_NODES"])
        (where / f"{ray.get_runtime_context().get_node_id()}.{time.time_ns()}").touch()
        return super().__call__(batch)


def write_pairs(path: Path, count: int) -> None:
    rows = [{"prompt": f"Write of soil {n}.", "chosen": f"Soil {n}.", "rejected": f"Loam {n}."} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def judgements(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "judgements.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "latency_s"} for line in lines]


def judged(pairs: Path, out: Path, url: str, *options: str) -> float:
    """Seconds that the command took."""
    started = time.perf_counter()
    command = ["eval", "run", "pairs", "--data", str(pairs), "--out", str(out), "--api_base", url, *JUDGE, *options]
    if run(command) != 0:
        raise SystemExit("the command failed")
    return time.perf_counter() - started


@click.command()
@click.option("--pairs", default=600, show_default=True, help="Pairs to judge.")
@click.option("--latency_s", default=0.2, show_default=True, help="Seconds that the judge takes for a reply.")
def main(pairs: int, latency_s: float) -> None:
    on_ray.PieceJudge = NamingPieceJudge  # type: ignore[misc]  # pickled by value, so that the workers have it
    with tempfile.TemporaryDirectory() as folder, loopback_judge(latency_s) as url:
        root, data, named = Path(folder), Path(folder) / "pairs.jsonl", Path(folder) / "nodes"
        write_pairs(data, pairs)
        named.mkdir()
        os.environ["FLIP_TWO_NODES"] = str(named)
        alone_s = judged(data, root / "alone", url, "--max_concurrency", "16")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        ray_s = judged(data, root / "ray", url, "--ray", "--ray_workers", "2", "--max_concurrency", "16")
        pieces = [path.name.split(".")[0] for path in named.iterdir()]
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        equal = judgements(root / "alone") == judgements(root / "ray")
        ray.shutdown()
        cluster.shutdown()
    row = {"nodes": len(nodes), "judgements": 2 * pairs, "equal to one process": equal}
    row |= {f"pieces of node {n}": pieces.count(node) for n, node in enumerate(nodes, start=1)}
    show("two Ray nodes", [row | {"seconds": ray_s, "seconds, one process": alone_s}])
    print(machine())


if __name__ == "__main__":
    main()
