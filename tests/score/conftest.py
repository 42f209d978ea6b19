"""Running `flip score` in this process, and in one that can be killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_double import JudgeDouble
from scored import command, exit_with

from open_instruct_flip.commands.main import run


@pytest.fixture
def score(tmp_path: Path, judge_double: Callable[..., JudgeDouble]) -> Callable[..., int]:
    """Score `in.jsonl` into `out.jsonl` of the test's folder; the exit code."""
    double = judge_double()

    def run_score(*options: str, source: str = "in.jsonl", out: str = "out.jsonl", url: str = double.api_base) -> int:
        return run(command(tmp_path / source, tmp_path / out, url, options=options))

    return run_score


@pytest.fixture
def start_killable() -> Iterator[Callable[[list[str]], multiprocessing.Process]]:
    """Start `flip` in a process of its own. They share one import of litellm, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["open_instruct_flip.score.run", "litellm"])
    started = []

    def start(arguments: list[str]) -> multiprocessing.Process:
        process = context.Process(target=exit_with, args=(arguments,))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
