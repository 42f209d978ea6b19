"""The wheel: nothing of the package is left out of it, and its command works away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from made_up import judged, write_folder

ROOT = Path(__file__).parents[2]
PACKAGE = "open_instruct_flip"
NOT_SHIPPED = shutil.ignore_patterns("__pycache__")

# Formats the help of every command there is, in one process.
ALL_HELP = """
import click, open_instruct_flip
from open_instruct_flip.commands.main import flip

def show(command, context):
    print(command.get_help(context).splitlines()[0])
    for name in getattr(command, "commands", None) or getattr(command, "list_commands", lambda _: ())(context):
        child = command.get_command(context, name)
        show(child, click.Context(child, context, name))

show(flip, click.Context(flip, info_name="flip"))
print(open_instruct_flip.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The unpacked wheel, built of a copy, so that nothing an earlier build left beside the package gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=NOT_SHIPPED)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def python(wheel, cwd, *arguments):
    """A Python that imports the package from the wheel, standing elsewhere."""
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def files_under(folder):
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_package(wheel):
    assert files_under(wheel / PACKAGE) == files_under(ROOT / PACKAGE)


def test_the_wheel_holds_nothing_beside_the_package(wheel):
    assert {path.name.split("-")[0] for path in wheel.iterdir()} == {PACKAGE}


def test_every_command_shows_its_help(wheel, tmp_path):
    done = python(wheel, tmp_path, "-c", ALL_HELP)
    assert done.returncode == 0, done.stderr
    *usages, imported_from = done.stdout.splitlines()
    assert Path(imported_from).is_relative_to(wheel)
    assert "Usage: flip local train [OPTIONS]" in usages


def test_an_evaluation_is_reported_with_the_shipped_page(wheel, tmp_path):
    write_folder(tmp_path / "judged", judged("i0", "flip", [0.9, 0.1]) + judged("i1", "flip", [0.2, 0.4]))
    done = python(wheel, tmp_path, "-m", PACKAGE, "eval", "report", "judged", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "<style>" in page
    assert "<script" in page


def test_runs_are_compared_with_the_shipped_page(wheel, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "history.jsonl").write_text('{"step": 1, "reward": 0.1}\n{"step": 2, "reward": 0.2}\n')
    done = python(wheel, tmp_path, "-m", PACKAGE, "compare", "a", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "<style>" in (tmp_path / "out" / "compare.html").read_text()
