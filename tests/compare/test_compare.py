"""`flip compare` as a user calls it: files, printed lines, exit codes, and a page that needs no network."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.compare.figure import headline_metrics
from open_instruct_flip.compare.run import Run

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """What a page holds: ids, tables' cells, and everything a browser would fetch."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.fetched, self.cells, self.tags = [], [], [], Counter()
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self._in_cell = self._in_cell or tag in ("td", "th")
        if tag in ("td", "th"):
            self.cells.append("")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.fetched.append(value)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def compared(two_runs, tmp_path_factory):
    """The folder and the printed lines of a comparison without smoothing."""
    out, printed = tmp_path_factory.mktemp("compare") / "new" / "out", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert flip(["compare", *two_runs, "--out", str(out), "--window", "1"]) == 0
    return out, printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def html(compared):
    return (compared[0] / "compare.html").read_text()


def test_the_last_line_is_the_pictures_path_and_the_files_are_there(compared):
    out, lines = compared
    assert lines[-1] == str(out / "compare.png")
    for name in ("compare.png", "curves.png", "wall_time.png"):
        assert (out / name).read_bytes().startswith(PNG)
    assert (out / "curves.csv").read_text().startswith("step,reward: flip,reward: llmjudge,")


def test_the_page_needs_no_network(html):
    page = Page(html)
    assert page.fetched == []
    assert not re.search(r"https?:|@import|url\((?!#)", html)
    assert page.tags["figure"] == page.tags["svg"] == 3


def test_every_figure_has_ids_of_its_own(html):
    figures = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    for number, svg in enumerate(figures):
        ids = set(Page(svg).ids)
        assert ids
        assert all(name.startswith(f"f{number}-") for name in ids)
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= ids


def test_the_page_shows_the_summary_the_scales_and_what_differs(html):
    cells = [cell.strip() for cell in Page(html).cells]
    reward = cells.index("Reward")
    assert cells[reward + 1 : reward + 7] == ["flip", "0.03", "0.75", "30", "0.75", "0.26"]
    assert "Rewards of different judges are not comparable" in html
    setting = cells.index("lr.peak")
    assert cells[setting + 1 : setting + 3] == ["–", "2"]


def test_the_values_under_the_pointer_are_the_curves(html):
    figures = json.loads(re.search(r"const FIGURES = (.*);", html)[1])
    panel = figures[0]["panels"][0]
    curve = panel["curves"][1]
    assert curve["run"] == "llmjudge (pointwise judge)"
    assert (curve["x"], set(curve["y"])) == (list(range(1, 21)), {0.9})
    left, top, right, bottom = panel["box"]
    assert 0 < left < right < 1
    assert 0 < top < bottom < 1


def test_runs_of_one_judge_are_compared_without_the_warning(make_run, tmp_path, capsys):
    runs = [make_run(name, reward=[0.1, 0.2]) for name in ("a", "b")]
    flip(["compare", *runs, "--out", str(tmp_path / "out")])
    assert "not comparable" not in (tmp_path / "out" / "compare.html").read_text()
    assert "not comparable" not in capsys.readouterr().out


def test_a_runs_name_is_never_markup(make_run, tmp_path, capsys):
    name = "<script>f()</script>[b]$x$"
    folder = make_run("a", reward=[0.1, 0.2])
    (tmp_path / "a" / "run.json").write_text(json.dumps({"name": name}))
    assert flip(["compare", folder, "--out", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out" / "compare.html").read_text()
    assert "<script>f()" not in html
    assert Page(html).tags["script"] == 1
    assert "[b]$x$" in capsys.readouterr().out


def test_a_half_written_last_line_is_told_to_the_user(make_run, tmp_path, capsys):
    folder = make_run("killed", reward=[0.1, 0.2])
    with (tmp_path / "killed" / "history.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    assert flip(["compare", folder, "--out", str(tmp_path / "out")]) == 0
    assert "line 3" in capsys.readouterr().err
    assert "line 3" in (tmp_path / "out" / "compare.html").read_text()


def test_runs_without_times_are_compared_over_steps_only(make_run, tmp_path):
    folder = make_run("a", wall_time=False, reward=[0.1, 0.2])
    assert flip(["compare", folder, "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "wall_time.png").exists()
    assert Page((tmp_path / "out" / "compare.html").read_text()).tags["figure"] == 2


@pytest.mark.parametrize("metrics", [{"reward": [0.5]}, {"kl": [0.0, 0.0]}, {"reward": [-3.0, 40.0]}])
def test_odd_curves_are_drawn(make_run, tmp_path, metrics):
    assert flip(["compare", make_run("a", **metrics), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")  # numpy's and matplotlib's
def test_more_runs_than_colours_are_drawn(make_run, tmp_path):
    runs = [make_run(f"run-{n}", reward=[0.1 * n, 0.05 * n]) for n in range(10)]
    assert flip(["compare", *runs, "--out", str(tmp_path / "out")]) == 0


def refused(arguments, capsys):
    assert flip(["compare", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_wrong_input_is_one_line(make_run, tmp_path, capsys):
    good, other = make_run("good", reward=[0.1]), make_run("other", kl=[0.1])
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "history.jsonl").touch()
    assert "is no run" in refused([str(tmp_path / "nothing")], capsys)
    assert "does not exist" in refused([str(tmp_path / "missing")], capsys)
    assert "is empty" in refused([good, str(tmp_path / "empty")], capsys)
    assert "share no metric" in refused([good, other], capsys)
    assert "given 2 times" in refused([good, good], capsys)
    assert "is a file" in refused([good, "--out", str(tmp_path / "empty" / "history.jsonl")], capsys)
    assert "--window" in refused([good, "--window", "0"], capsys)
    assert "RUN" in refused([], capsys)
    assert "entity/project/run" in refused([good, "--wandb_report", "--out", str(tmp_path / "out")], capsys)


def test_nothing_is_written_when_a_run_can_not_be_read(make_run, tmp_path, capsys):
    refused([make_run("good", reward=[0.1]), str(tmp_path), "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["numpy", "matplotlib", "jinja2"])
def test_a_missing_library_is_one_line_with_its_command(two_runs, tmp_path, library):
    script = (
        "import sys\n"
        f"sys.modules[{library!r}] = None\n"
        "from open_instruct_flip.commands.main import main\n"
        f"main(['compare', {two_runs[0]!r}, '--out', {str(tmp_path / 'out')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{library}: pip install 'open-instruct-flip[compare]'" in done.stderr


@pytest.mark.parametrize(
    ("known", "beside"),
    [
        ([{"overlap", "f1"}, {"overlap", "f1"}], "overlap"),
        ([{"overlap", "copy_rate"}, {"copy_rate"}], "copy_rate"),
        ([{"heldout_true_rate", "overlap"}, {"overlap"}], "overlap"),
        ([{"overlap"}, {"f1"}], "overlap"),
        ([{"kl"}, set()], "kl"),
    ],
)
def test_beside_the_reward_stands_what_all_runs_know_and_judges_do_not_give(known, beside):
    runs = [
        Run(name, name, rows=({"step": 1, "reward": 0.5} | dict.fromkeys(metrics, 0.5),))
        for name, metrics in zip("ab", known, strict=True)
    ]
    assert [metric.name for metric in headline_metrics(runs)] == ["reward", beside]
