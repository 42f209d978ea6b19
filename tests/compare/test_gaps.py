"""A run that diverged: its steps without a finite reward are marked in the table, the picture and the page."""

import json
import math
import re

import pytest

from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.compare.figure import BY_NAME, draw
from open_instruct_flip.compare.sources import read_any
from open_instruct_flip.compare.summary import gap_notes, summarize

RISING = [step / 25 for step in range(1, 21)]
DIVERGED = [0.1, 0.2, 0.3, 0.4, 0.5] + ["NaN"] * 15
NOTE = "diverged: reward is not finite (NaN) at 15 steps, the first is step 6"


def trainer_state(folder, rewards):
    """A checkpoint as TRL leaves it; JSON's missing numbers stand bare in it."""
    folder.mkdir()
    history = [{"step": step, "reward": float(reward)} for step, reward in enumerate(rewards, start=1)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return str(folder)


@pytest.fixture
def runs(make_run, tmp_path):
    return [make_run("sound", reward=RISING), trainer_state(tmp_path / "diverged", DIVERGED)]


def test_the_table_the_page_and_the_notes_say_where_a_run_diverged(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    assert flip(["compare", *runs, "--out", str(tmp_path / "out"), "--window", "1"]) == 0
    printed = capsys.readouterr()
    assert NOTE in printed.err
    (row,) = [line for line in printed.out.splitlines() if "diverged" in line]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells == ["", "diverged", "0.10", "0.50", "5", "NaN", "0.30", "15, from step 6"]
    html = (tmp_path / "out" / "compare.html").read_text()
    assert NOTE in html
    assert "<td>15, from step 6</td>" in html
    panel = json.loads(re.search(r"const FIGURES = (.*);", html)[1])[0]["panels"][0]
    assert panel["curves"][1]["text"] == ["0.10", "0.20", "0.30", "0.40", "0.50"] + ["NaN"] * 15
    assert (tmp_path / "out" / "curves.csv").read_text().splitlines()[6] == "6,0.24,nan"


def test_the_picture_marks_where_a_curve_stops_and_how_long_the_run_went_on(runs):
    drawing = draw([read_any(run) for run in runs], [BY_NAME["reward"]], window=1)
    axes = drawing.panels[0].axes
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    (dots,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [*cross.get_xydata()[0]] == [6, 0.5]
    assert dots.get_xydata().tolist() == [[6, 0.5], [20, 0.5]]
    assert [text.get_text() for text in axes.texts] == ["NaN", "NaN", "0.80"]  # at the cross, and at the right edge


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")  # numpy's and matplotlib's
@pytest.mark.parametrize(
    ("rewards", "first", "best", "last", "gap"),
    [
        (["NaN", 0.2, 0.4], math.nan, (0.4, 3), 0.4, (1, 1)),
        ([0.2, "NaN", 0.4], 0.2, (0.4, 3), 0.4, (2, 1)),
        (["NaN", "Infinity"], math.nan, None, math.nan, (1, 2)),
    ],
)
def test_gaps_at_the_start_within_and_everywhere(rewards, first, best, last, gap, make_run, tmp_path):
    folder = make_run("run", reward=rewards, kl=[0.1] * len(rewards))
    (line, _) = summarize([read_any(folder)], window=1)
    assert line.first == pytest.approx(first, nan_ok=True)
    assert line.last == pytest.approx(last, nan_ok=True)
    assert (line.best, (line.gap.first, line.gap.count)) == (best, gap)
    assert flip(["compare", folder, "--out", str(tmp_path / "out")]) == 0


def test_a_sound_run_gets_no_column_and_no_note(runs, tmp_path, capsys):
    assert flip(["compare", runs[0], "--out", str(tmp_path / "out")]) == 0
    assert "not finite" not in capsys.readouterr().out
    assert "not finite" not in (tmp_path / "out" / "compare.html").read_text()
    assert gap_notes(summarize([read_any(runs[0])], window=1)) == []
