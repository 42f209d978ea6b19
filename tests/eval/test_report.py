"""`flip eval report` as a user calls it: one page, no network, no way out for a judged text."""

import json
import re
from html.parser import HTMLParser

import pytest
from made_up import judged, write_folder

from open_instruct_flip.commands.main import run as flip

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 {{ 7 * 7 }} <img src=x onerror=alert(2)>"
FIGURES = {"strict": 0.75, "official": 0.8, "se": 0.0625, "low": 0.6, "high": 0.9, "n": 4, "failed": 1}
COST = {
    "judgements": 10,
    "unreadable": 0.125,
    "prompt_tokens_per_1000": 100_000.0,
    "completion_tokens_per_1000": 10_000.0,
    "request_seconds_per_1000": 500.0,
    "cost_per_1000": None,
}
SUMMARY = {
    "results": {
        "pairs": {
            "flip": {
                "overall": FIGURES,
                "subsets": {"easy": FIGURES, "hard": {"strict": None, "n": 0, "failed": 3}},
                "by_length": {"right_longer": FIGURES},
                "cost": COST,
                "relative_gain": {"pointwise": 0.5, "mean": 0.5},
                "baselines": {
                    "random": {
                        "overall": {"strict": 0.5, "official": 0.5},
                        "subsets": {},
                        "by_length": {"right_longer": {"strict": 0.5}},
                    }
                },
            }
        }
    },
    "differences": {"pairs": [{"judge": "flip", "other": "pointwise", "value": 0.1, "low": -0.05, "high": 0.2}]},
}


class Page(HTMLParser):
    """A page's elements, the cells of its tables, its scripts, and what a browser would fetch."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells, self.fetched, self.scripts = [], [], [], []
        self.in_cell = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag in ("td", "th"):
            self.cells.append("")
            self.in_cell = True
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script" and self.scripts and not self.scripts[-1]:
            self.scripts[-1] = data
        elif self.in_cell:
            self.cells[-1] += data


@pytest.fixture
def page(tmp_path):
    def write(rows, summary=None):
        folder = write_folder(tmp_path / "run", rows)
        if summary:
            (folder / "summary.json").write_text(json.dumps(summary))
        assert flip(["eval", "report", str(folder)]) == 0
        return Page((folder / "report.html").read_text())

    return write


def data_of(page):
    return json.loads(page.scripts[0])


def test_no_judged_text_becomes_markup(page):
    hostile = dict.fromkeys(("response", "reply", "inferred_instruction", "subset", "item"), HOSTILE)
    html = page([row | hostile for row in judged("1", "flip", [0.5, 0.4])])
    assert len(html.scripts) == 2
    assert "img" not in html.tags
    item = data_of(html)["items"][0]
    assert (item[1], item[2], item[4]) == (HOSTILE, HOSTILE, [HOSTILE, HOSTILE])


def test_the_page_needs_no_network_and_its_script_writes_no_markup(page, tmp_path):
    html = page(judged("1", "flip", [0.5, 0.4]), SUMMARY)
    text = (tmp_path / "run" / "report.html").read_text()
    assert html.fetched == []
    assert not re.search(r"https?:|@import|url\((?!#)|innerHTML|insertAdjacent|document\.write|eval\(", text)
    assert "default-src 'none'" in text


def test_the_browsers_data_are_outcome_choice_and_judgements(page):
    rows = judged("1", "flip", [0.5, 0.4]) + judged("1", "pointwise", [0.5, "unreadable_reply"])
    data = data_of(page(rows))
    assert data["voices"] == ["flip", "pointwise"]
    assert data["items"][0][6] == [
        [0, "right", 0, [[0.5], [0.4]]],
        [1, "unreadable", None, [[0.5], [None, "unreadable_reply"]]],
    ]


def test_tokens_are_gains_where_the_verdict_is_and_log_probabilities_else(page):
    read = {"read": [["Name ", -1.25, -3.0], ["it", -0.5, -0.25]], "told": [["Name ", -1.25], ["it", -0.5]]}
    rows = [row for judge, tokens in read.items() for row in judged("1", judge, [0.5, 0.4], tokens=tokens)]
    shown = [rows[0][5] for *_, rows in data_of(page(rows))["items"][0][6]]
    assert shown == [[["Name ", "it"], [175, -25], 1], [["Name ", "it"], [-125, -50], 0]]


def test_the_tables_show_the_summary_beside_the_baselines(page):
    cells = [" ".join(cell.split()) for cell in page(judged("1", "flip", [0.5, 0.4]), SUMMARY).cells]
    start = cells.index("flip")
    expected = ["0.750 ± 0.062", "0.800", "4", "1", "12.5%", "110", "0.50", "–"]
    assert cells[start + 1 : start + 9] == expected
    start = cells.index("random")
    assert cells[start + 1 : start + 3] == ["0.500", "0.500"]
    start = cells.index("right is longer")
    assert cells[start + 1 : start + 5] == ["flip", "0.750 ± 0.062", "random", "0.500"]
    assert cells[cells.index("flip over pointwise", cells.index("-0.050 to +0.200")) + 1] == "+50.0%"
    assert "flip over pointwise" in cells
    assert "-0.050 to +0.200" in cells


def test_many_subsets_have_a_row_each_with_what_no_judge_has_made(page):
    def subsets(mean):
        return {f"model {n}": {"mean": mean + n, "win_rate": 10.0 * n, "se": 0.5} for n in range(9)}

    trivial = {"longer": {"overall": {"spearman": 0.5}, "subsets": subsets(7.0)}}
    flip = {"overall": {"spearman": 0.25, "n": 9, "failed": 0}, "subsets": subsets(1.0), "by_length": {}, "cost": COST}
    summary = {"results": {"alpaca": {"flip": flip | {"baselines": trivial}}}}
    cells = [" ".join(cell.split()) for cell in page(judged("1", "flip", [0.5, 0.4]), summary).cells]
    start = cells.index("Subset")
    assert cells[start + 1 : start + 4] == ["flip", "longer", "win_rate"]
    start = cells.index("model 8")
    assert cells[start + 1 : start + 4] == ["9.000 ± 0.500", "15.000 ± 0.500", "80.000"]


def test_the_attacks_of_two_folders_stand_side_by_side(tmp_path):
    folders = []
    for name, mean in (("small", 0.4), ("large", -0.1)):
        folder = write_folder(tmp_path / name, judged("1", "flip", [0.9, 0.1]))
        change = {"mean": mean, "error": 0.01, "low": mean, "high": mean, "n": 9}
        effect = {"judge": "flip", "attack": "padding", "copy_guard": "off", "change": change, "flipped": None}
        (folder / "attacks.json").write_text(json.dumps([{**effect, "failed": 0.0}]))
        folders.append(str(folder))
    assert flip(["eval", "report", *folders, "--out", str(tmp_path / "page.html")]) == 0
    cells = Page((tmp_path / "page.html").read_text()).cells
    row = cells.index("padding")
    assert [cell.split()[0] for cell in cells[row + 1 : row + 3]] == ["+0.400", "-0.100"]
    assert {"flip (small)", "flip (large)"} <= set(cells)


def test_a_stopped_run_has_a_page_without_tables(page, tmp_path):
    page(judged("1", "flip", [0.5, 0.4]))
    assert "There is no summary.json" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_broken_summary_is_named(tmp_path, capsys, content):
    folder = write_folder(tmp_path / "run", judged("1", "flip", [0.5, 0.4]))
    (folder / "summary.json").write_text(content)
    assert flip(["eval", "report", str(folder)]) == 2
    assert str(folder / "summary.json") in capsys.readouterr().err
