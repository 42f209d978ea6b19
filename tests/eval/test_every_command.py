"""What all commands of `flip eval` share that judge: they count first, can be interrupted, and go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from every_command import AHEAD, SUBCOMMANDS, arguments, judgements_of, write_rows
from judge_double import JudgeDouble, varied_reply

from open_instruct_flip.commands.main import run


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_a_dry_run_counts_what_is_then_sent(
    subcommand: str, judge_double: Callable[..., JudgeDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double, out = judge_double(), tmp_path / "out"
    command = arguments(subcommand, write_rows(tmp_path / "in.jsonl"), out, double.api_base)
    assert run([*command, "--dry_run"]) == 0
    (cells,) = [line.split("│") for line in capsys.readouterr().out.splitlines() if "flip" in line]
    assert (double.num_requests, out.exists()) == (0, False)
    assert run(command) == 0
    assert double.num_requests == int(cells[2]) > 0


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_ctrl_c_says_how_to_go_on_and_the_same_command_judges_little_twice(
    subcommand: str, judge_double: Callable[..., JudgeDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once = iter([signal.SIGINT])

    def interrupting(body: dict[str, Any]) -> str:
        if stopped.num_requests >= AHEAD + 2:  # the first item's judgements are written by then
            for interrupt in once:
                os.kill(os.getpid(), interrupt)
        return varied_reply(body)

    data, out = write_rows(tmp_path / "in.jsonl"), tmp_path / "out"
    stopped, double = judge_double(reply=interrupting, latency_s=0.01), judge_double()
    assert run(arguments(subcommand, data, out, stopped.api_base)) == 130
    assert f"what is finished is kept in {out}, the same command goes on" in capsys.readouterr().err
    kept = len(judgements_of(out))
    assert kept > 0
    assert run(arguments(subcommand, data, out, double.api_base)) == 0
    assert double.num_requests == len(judgements_of(out)) - kept
    assert run(arguments(subcommand, data, tmp_path / "whole", double.api_base)) == 0
    assert judgements_of(out) == judgements_of(tmp_path / "whole")


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_a_judge_that_is_gone_ends_the_work_with_how_to_go_on(
    subcommand: str, judge_double: Callable[..., JudgeDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double = judge_double(fault=lambda number, body: 401)
    command = arguments(subcommand, write_rows(tmp_path / "in.jsonl"), tmp_path / "out", double.api_base)
    assert run(command) == 1
    assert "the same command goes on from there" in capsys.readouterr().err
