"""Runs that end early: killed, interrupted, left by their judge; and what the next one makes of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from judge_double import JudgeDouble
from scored import Rows, command, read_jsonl, without_latency

from open_instruct_flip.commands.main import run

NUM_ROWS = 120
RESPONSES_PER_ROW = 3

Start = Callable[..., JudgeDouble]
StartKillable = Callable[[list[str]], multiprocessing.Process]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows of one to three responses, one of them unfit."""
    rows = [
        {"id": f"row {n}", "prompt": f"write about soil {n}", "responses": [f"soil {n} {i}" for i in range(1 + n % 3)]}
        for n in range(NUM_ROWS)
    ]
    rows[17] = {"id": "unfit"}
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def unkilled(source: Path, double: JudgeDouble) -> Rows:
    out = source.with_name("unkilled.jsonl")
    assert run(command(source, out, double.api_base)) == 0
    return without_latency(read_jsonl(out))


def wait_for_rows(partial: Path, count: int, process: multiprocessing.Process) -> int:
    """Wait until the partial output holds so many lines; how many it holds then."""
    while True:
        lines = partial.read_bytes().count(b"\n") if partial.exists() else 0
        if lines >= count or not process.is_alive():
            return lines
        time.sleep(0.005)


def test_killed_three_times_it_is_complete(source: Path, judge_double: Start, start_killable: StartKillable) -> None:
    double = judge_double(latency_s=0.03)
    wanted = unkilled(source, double)
    out = source.with_name("out.jsonl")
    partial = source.with_name("out.jsonl.partial")
    arguments = command(source, out, double.api_base)
    double.num_requests, done, kept = 0, 0, []
    for _ in range(3):
        process = start_killable(arguments)
        wait_for_rows(partial, done + random.randint(5, 50), process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done = partial.read_bytes().count(b"\n")
        kept.append(done)
    with partial.open("ab") as file:
        file.write(b'{"id": "row 9')  # what a kill in the middle of a write leaves
    assert run(arguments) == 0
    assert without_latency(read_jsonl(out)) == wanted
    assert kept == sorted(kept)
    assert double.num_requests < 2 * len(wanted), "finished rows were judged again"
    assert not list(source.parent.glob("out.jsonl.partial*"))


def test_an_interrupt_is_one_line_and_130(source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str]) -> None:
    double = judge_double(latency_s=0.03)
    out = source.with_name("out.jsonl")
    partial = source.with_name("out.jsonl.partial")

    def interrupt() -> None:
        while not partial.exists() or partial.stat().st_size == 0:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt, daemon=True).start()
    assert run(command(source, out, double.api_base, options=["--restart"])) == 130
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"interrupted; what is finished is kept in {partial}, the same command without --restart goes on from there"
    )
    assert not out.exists()
    wanted = unkilled(source, double)
    assert run(command(source, out, double.api_base)) == 0
    assert without_latency(read_jsonl(out)) == wanted


def stop_after(double: JudgeDouble, num_requests: int) -> None:
    def stop() -> None:
        while double.num_requests < num_requests:
            time.sleep(0.005)
        double.stop()

    Thread(target=stop, daemon=True).start()


def test_one_of_three_servers_stops_and_nothing_is_lost(source: Path, judge_double: Start) -> None:
    doubles = [judge_double(latency_s=0.03) for _ in range(3)]
    wanted = unkilled(source, doubles[0])
    doubles[1].num_requests = 0
    stop_after(doubles[1], 20)
    out = source.with_name("out.jsonl")
    assert run(command(source, out, *(double.api_base for double in doubles))) == 0
    rewards = [(row["id"], row["index"], row["reward"]) for row in read_jsonl(out)]
    assert rewards == [(row["id"], row["index"], row["reward"]) for row in wanted]
    assert doubles[1].num_requests < len(wanted) / 3


def test_an_outage_stops_the_run_instead_of_failing_every_row(
    source: Path, judge_double: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    double = judge_double(latency_s=0.03)
    wanted = unkilled(source, double)
    double.num_requests = 0
    stop_after(double, 40)
    out = source.with_name("out.jsonl")
    assert run(command(source, out, double.api_base)) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(
        "flip: error: the judge can't be reached for 2 s (--outage_timeout_s); judge hosted_vllm/judge"
    )
    assert double.api_base in line
    assert line.endswith("the same command goes on from there")
    kept = read_jsonl(source.with_name("out.jsonl.partial"))
    assert {row["error"] for row in kept} <= {None, "invalid_input"}
    again = judge_double()
    assert run(command(source, out, again.api_base)) == 0
    assert without_latency(read_jsonl(out)) == wanted
    assert again.num_requests <= len(wanted) - len(kept)
