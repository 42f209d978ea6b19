"""Run folders: what is written is read back, also after kills and resumes."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_instruct_flip.compare.history import HISTORY_FILE, RUN_FILE, RunHistory, read_run
from open_instruct_flip.compare.run import last_trajectory
from open_instruct_flip.errors import UsageError


def steps(run):
    return [row["step"] for row in run.rows]


def test_what_is_logged_is_read_back(tmp_path):
    history = RunHistory(tmp_path / "a", name="flip-1", judge="flip", seed=7, config={"lr": 1e-6, "path": tmp_path})
    history.log(1, reward=0.25, kl=0.0)
    history.log(2, reward=0.5, kl=None)
    run = read_run(tmp_path / "a")
    assert (run.name, run.judge, run.seed, run.config["lr"]) == ("flip-1", "flip", 7, 1e-6)
    assert run.series("reward") == ([1, 2], [0.25, 0.5])
    assert run.metrics() == {"reward", "kl"}
    assert run.series("kl") == ([1], [0.0])
    assert run.notes == ()


def test_every_line_is_strict_json_with_a_wall_time(tmp_path):
    RunHistory(tmp_path).log(1, reward=float("inf"), kl=float("nan"))
    (line,) = (tmp_path / HISTORY_FILE).read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert row["step"] == 1
    assert row["wall_time_s"] >= 0
    assert (row["reward"], row["kl"]) == ("Infinity", "NaN")


def test_the_name_is_the_folders_when_none_is_given(tmp_path):
    RunHistory(tmp_path / "my-run").log(1, reward=1.0)
    assert read_run(tmp_path / "my-run").name == "my-run"


def test_a_run_killed_within_a_line_is_read_up_to_it_and_the_user_is_told(tmp_path):
    RunHistory(tmp_path).log(1, reward=0.5)
    with (tmp_path / HISTORY_FILE).open("a") as file:
        file.write('{"step": 2, "rew')
    run = read_run(tmp_path)
    assert steps(run) == [1]
    assert len(run.notes) == 1
    assert "line 2" in run.notes[0]


def test_a_killed_process_loses_no_logged_step(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from open_instruct_flip.compare.history import RunHistory\n"
        "history = RunHistory(sys.argv[1])\n"
        "for step in (1, 2, 3): history.log(step, reward=step / 10)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert read_run(tmp_path).series("reward") == ([1, 2, 3], [0.1, 0.2, 0.3])


def test_a_resumed_run_continues_in_the_same_file(tmp_path):
    first = RunHistory(tmp_path, name="a")
    for step in (1, 2, 3):
        first.log(step, reward=0.1)
    started_at = json.loads((tmp_path / RUN_FILE).read_text())["started_at"]
    with (tmp_path / HISTORY_FILE).open("a") as file:
        file.write('{"step": 4, "reward": 0')
    second = RunHistory(tmp_path, name="a")
    for step in (3, 4):
        second.log(step, reward=0.9)
    run = read_run(tmp_path)
    assert run.series("reward") == ([1, 2, 3, 4], [0.1, 0.1, 0.9, 0.9])
    assert run.notes == ()
    assert json.loads((tmp_path / RUN_FILE).read_text())["started_at"] == started_at


def test_wall_time_goes_on_from_the_step_a_run_was_resumed_at(tmp_path):
    lines = [{"step": step, "wall_time_s": 100.0 * step, "reward": 0.0} for step in (1, 2, 3)]
    (tmp_path / HISTORY_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    RunHistory(tmp_path).log(3, reward=1.0)
    seconds, _ = read_run(tmp_path).series("reward", over="wall_time_s")
    assert seconds[:2] == [100.0, 200.0]
    assert 200.0 <= seconds[2] < 300.0


def test_a_run_started_anew_in_an_old_folder_forgets_the_old_one(tmp_path):
    for values in ([0.1, 0.2, 0.3], [0.7]):
        history = RunHistory(tmp_path)
        for step, value in enumerate(values, start=1):
            history.log(step, reward=value)
    assert read_run(tmp_path).series("reward") == ([1], [0.7])


def test_metrics_logged_apart_for_one_step_make_one_row(tmp_path):
    history = RunHistory(tmp_path)
    history.log(1, reward=0.5)
    history.log(1, heldout_true_rate=0.25)
    (row,) = read_run(tmp_path).rows
    assert (row["reward"], row["heldout_true_rate"]) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is no run"),
        ("", "is empty"),
        ('{"step": 1}\nnot json\n{"step": 2}\n', "line 2"),
        ('{"reward": 1}\n', "line 1"),
        ('[1, 2]\n{"step": 1}\n', "line 1"),
        ('{"step": 1}\n\xff\xfe\n', "line 2"),
    ],
)
def test_what_is_no_history_is_named(tmp_path, content, says):
    if content is not None:
        (tmp_path / HISTORY_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=says) as error:
        read_run(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_run_file_is_named(tmp_path, content):
    RunHistory(tmp_path).log(1, reward=1.0)
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(UsageError, match=RUN_FILE):
        read_run(tmp_path)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), max_size=40))
def test_a_trajectory_ascends_and_ends_at_the_last_logged_step(logged):
    rows = [{"step": step, "order": order} for order, step in enumerate(logged)]
    kept = last_trajectory(rows)
    found = [row["step"] for row in kept]
    assert found == sorted(set(found))
    assert found[-1:] == logged[-1:]
    assert [row["order"] for row in kept] == sorted(row["order"] for row in kept)
