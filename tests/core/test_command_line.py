"""The `flip` command as a shell meets it: odd terminals, broken pipes, full disks, Ctrl-C, mistyped commands."""

import errno
import os
import subprocess
import sys

import click
import pytest

from open_instruct_flip.commands import main
from open_instruct_flip.commands.main import run

FLIP = f"{sys.executable} -m open_instruct_flip"


def shell(line, **environment):
    return subprocess.run(
        ["bash", "-c", line], env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    rows = ['{"step": 1, "reward": 0.1, "kl": 0.1}', '{"step": 2, "reward": 0.2, "kl": 0.1}']
    (folder / "history.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def failing(monkeypatch):
    """Makes `flip failing` raise an exception."""

    def install(error):
        @click.command()
        def command():
            raise error

        monkeypatch.setattr(main, "test_command", command, raising=False)
        monkeypatch.setitem(main.COMMANDS, "failing", ("main", "test_command", "Fails."))

    return install


@pytest.mark.parametrize(
    ("command", "says"), [("scroe", "did you mean 'score'?"), ("teach", "there are score, serve, judge, local")]
)
def test_an_unknown_command_is_one_line_that_names_the_known_ones(command, says, capsys):
    assert run([command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize("arguments", [[], ["serve"], ["data"]])
def test_a_group_without_a_command_shows_its_help(arguments, capsys):
    assert run(arguments) == 2
    assert "Commands:" in "".join(capsys.readouterr())


def test_an_ascii_terminal_stops_no_command(run_folder, tmp_path):
    done = shell(f"{FLIP} compare {run_folder} --out {tmp_path}/out", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "Reward" in done.stdout


@pytest.mark.parametrize("command", ["--help", "doctor --json", "compare {run} --out {run}/out", "scroe 2>&1"])
def test_a_reader_that_leaves_early_is_no_traceback(command, run_folder):
    line = f"{FLIP} {command.format(run=run_folder)}"
    done = shell(f"{line} | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 1, 2)  # 0 where the output fitted into the pipe
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_full_disk_under_the_output_is_one_line():
    done = shell(f"{FLIP} --help > /dev/full")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr


@pytest.mark.parametrize("file", ["compare.png", "compare.html", "curves.csv"])
def test_a_full_disk_under_a_file_is_one_line(file, run_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).symlink_to("/dev/full")
    done = shell(f"{FLIP} compare {run_folder} --out {tmp_path}/out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr


def test_a_full_disk_is_seen_through_a_librarys_own_exception(failing, capsys):
    failing(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert run(["failing"]) == 1
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    failing(wrapped)
    assert run(["failing"]) == 1
    assert capsys.readouterr().err.count("the disk is full") == 2


def test_what_nobody_foresaw_keeps_its_traceback(failing):
    failing(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(["failing"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_one_line_and_130(error, failing, capsys):
    failing(error)
    assert run(["failing"]) == 130
    assert capsys.readouterr().err.strip() == "flip: error: interrupted"  # click ends the line of the ^C


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        ("eval report {run}", "numpy", "eval"),
        ("local build-models --out {run}/models", "torch", "local"),
        ("judge train {run} --base b --out {run}/out", "torch", "judge-training"),
        ("esfp train {run}/pairs.jsonl --base b --out {run}/out", "torch", "judge-training"),
    ],
)
def test_a_missing_library_is_one_line_with_its_extra(arguments, library, extra, run_folder):
    (run_folder / "pairs.jsonl").write_text("")
    without = f"import sys; sys.modules[{library!r}] = None; from open_instruct_flip.commands.main import main; main()"
    done = shell(f'{sys.executable} -c "{without}" {arguments.format(run=run_folder)}')
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert library in done.stderr
    assert done.stderr.endswith(f"pip install 'open-instruct-flip[{extra}]'\n")


def test_a_broken_import_of_our_own_keeps_its_traceback(failing, monkeypatch):
    monkeypatch.setitem(main.EXTRAS, "failing", "local")
    failing(ModuleNotFoundError("No module named 'open_instruct_flip.gone'", name="open_instruct_flip.gone"))
    with pytest.raises(ModuleNotFoundError, match="gone"):
        run(["failing"])
