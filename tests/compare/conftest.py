"""Runs to compare, in this project's own format."""

import json

import pytest

from open_instruct_flip.compare.history import HISTORY_FILE, RUN_FILE


def write_run(folder, judge="flip", config=None, wall_time=True, **metrics):
    """Write a run folder from one list of values per metric; step n ends after 2n seconds."""
    folder.mkdir(parents=True)
    about = {"name": folder.name, "judge": judge, "seed": 1, "config": config or {}}
    (folder / RUN_FILE).write_text(json.dumps(about))
    length = max(len(values) for values in metrics.values())
    rows = [{"step": step} | ({"wall_time_s": 2.0 * step} if wall_time else {}) for step in range(1, length + 1)]
    for metric, values in metrics.items():
        for row, value in zip(rows, values, strict=False):
            row[metric] = value
    (folder / HISTORY_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.fixture
def make_run(tmp_path):
    """`write_run` into a folder of this test."""
    return lambda name, **run: write_run(tmp_path / name, **run)


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory):
    """A flip run of 30 steps and a pointwise one of 20, which knows fewer metrics."""
    folder, rising = tmp_path_factory.mktemp("runs"), [step / 40 for step in range(1, 31)]
    flip = {"reward": rising, "true_rate": rising, "f1": rising, "kl": [0.1] * 30, "heldout_true_rate": [0.5]}
    pointwise = {"reward": [0.9] * 20, "true_rate": [0.3] * 20}
    return [
        write_run(folder / "flip", **flip),
        write_run(folder / "llmjudge", judge="pointwise", config={"lr": {"peak": 2}}, **pointwise),
    ]
