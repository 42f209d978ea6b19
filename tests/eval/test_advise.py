"""`flip eval advise`: a verdict only where the intervals tell, and each word with its figures."""

import json

import pytest

from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.eval.advise import Results, advise
from open_instruct_flip.eval.attacks.effects import Effect
from open_instruct_flip.eval.estimate import Estimate


def result(strict, se=0.01, official=None, unreadable=0.0, baseline=0.6):
    overall = {"strict": strict, "official": strict if official is None else official, "se": se, "n": 100, "failed": 0}
    cost = {"unreadable": unreadable, "prompt_tokens_per_1000": 2e5, "completion_tokens_per_1000": 4e4}
    cost["request_seconds_per_1000"] = 500.0
    trivial = {"random": {"overall": {"strict": 0.5}}, "longer": {"overall": {"strict": baseline, "se": 0.01}}}
    return {"overall": overall, "cost": cost, "baselines": trivial}


def summary(differences=(), **results):
    return {"results": {"llmbar": results}, "differences": {"llmbar": list(differences)}}


def ahead(judge, other, value, low, high):
    return {"judge": judge, "other": other, "value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("summaries", "judge", "reason"),
    [
        ([summary(a=result(0.8), b=result(0.7))], "a", "ahead of b by +0.100 (+0.072 to +0.128)"),
        ([summary(a=result(0.8)), summary(b=result(0.7))], "a", "ahead of b"),
        ([summary(a=result(0.71), b=result(0.7))], None, "no verdict: a is not surely ahead of b by +0.010"),
        # the paired bootstrap knows more than the two errors, in either order
        ([summary([ahead("b", "a", -0.01, -0.02, -0.005)], a=result(0.71), b=result(0.7))], "a", "(+0.005 to +0.020)"),
        ([summary([ahead("a", "b", 0.1, -0.01, 0.2)], a=result(0.8), b=result(0.7))], None, "no verdict"),
        ([summary(a=result(0.61), b=result(0.55))], None, "no judge is surely better than the trivial ones"),
        ([summary(a=result(0.9, unreadable=0.3), b=result(0.7))], "b", "it alone is"),
        ([summary(a=result(None))], None, "no judge is surely better"),
    ],
)
def test_the_verdict(summaries, judge, reason):
    (advice,) = advise([Results(f"run{number}", one) for number, one in enumerate(summaries)])
    assert advice.judge == judge
    assert reason in advice.reason


def test_each_word_stands_with_its_figures():
    flipped = Estimate(0.25, 0.05, 0.15, 0.35, 100)
    weaker = Effect("a", "order", "off", None, Estimate(0.1, 0.05, 0.0, 0.2, 100), 0.0)
    guarded = Effect("a", "padding", "penalize", None, Estimate(0.9, 0.05, 0.8, 1.0, 100), 0.0)
    strongest = Effect("a", "begging", "off", None, flipped, 0.0)
    results = summary(a=result(0.8, official=0.9, unreadable=0.2), b=result(None))
    (advice,) = advise([Results("run", results), Results("attacks", effects=[weaker, guarded, strongest])])
    assert [case.judge for case in advice.cases] == ["a", "b"]
    assert advice.cases[0].words() == [
        "better than the best trivial judge, longer: strict 0.800, +0.200 (+0.172 to +0.228)",
        "often ties: 0.100 of its official accuracy is ties",
        "often unreadable: 20.0% of the replies hold no verdict",
        "a rollout takes 240 tokens and 0.50 s of requests",
        "weakest against begging: 25.0% flipped (15.0% to 35.0%)",
    ]
    assert advice.cases[1].words()[0].startswith("nothing was judged")


def test_judges_of_one_label_are_told_apart_by_their_folders():
    # Each run's own paired difference decides nothing between judges of different runs.
    first = summary([ahead("flip", "pointwise", 0.3, 0.26, 0.34)], flip=result(0.9), pointwise=result(0.6))
    second = summary([ahead("flip", "pointwise", -0.19, -0.23, -0.15)], flip=result(0.7), pointwise=result(0.89))
    for folders in ([Results("A", first), Results("B", second)], [Results("B", second), Results("A", first)]):
        (advice,) = advise(folders)
        assert [case.judge for case in advice.cases] == ["flip (A)", "pointwise (B)", "flip (B)", "pointwise (A)"]
        assert advice.judge is None
        assert advice.reason.startswith("no verdict: flip (A) is not surely ahead of pointwise (B) by +0.010 (-0.018")


def test_judges_of_one_label_on_different_benchmarks_keep_their_names():
    other = {"results": {"rm_bench": {"flip": result(0.7)}}}
    advice = advise([Results("A", summary(flip=result(0.8))), Results("B", other)])
    assert [one.judge for one in advice] == ["flip", "flip"]


def flips(share):
    return Effect("flip", "begging", "off", None, Estimate(share, 0.05, share, share, 100), 0.0)


def test_an_attack_counts_for_the_judge_that_was_attacked():
    small, large = ({"llm_judge_model": name, "copy_guard": "off"} for name in ("small", "large"))
    first, second = (summary(flip=result(value)) | {"judges": {"flip": j}} for value, j in ((0.9, small), (0.7, large)))
    attacks = [
        Results("C", effects=[flips(0.25)], judges={"flip": small | {"copy_guard": "penalize"}}),
        Results("D", effects=[flips(0.75)], judges={"flip": large}),
    ]
    (advice,) = advise([Results("A", first), Results("B", second), *attacks])
    assert [(case.judge, case.weakest.flipped.mean) for case in advice.cases] == [
        ("flip (A)", 0.25),
        ("flip (B)", 0.75),
    ]
    (alone,) = advise([Results("A", first), attacks[1]])
    assert alone.cases[0].weakest is None
    assert "no attack on it was run" in alone.cases[0].words()[-1]


def test_the_command_prints_the_verdict_and_its_words(tmp_path, capsys):
    (tmp_path / "summary.json").write_text(json.dumps(summary(a=result(0.8), b=result(0.7))))
    assert flip(["eval", "advise", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("llmbar: train with a, ahead of b by +0.100")
    assert flip(["eval", "advise", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["judge"] == "a"


def test_folders_of_one_name_are_shown_with_their_paths(tmp_path, capsys):
    folders = [tmp_path / name / "llmbar" for name in ("small", "large")]
    for folder, value in zip(folders, (0.7, 0.9), strict=True):
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary(flip=result(value))))
    assert flip(["eval", "advise", *map(str, folders)]) == 0
    assert f"train with flip ({folders[1]}), ahead of flip ({folders[0]})" in capsys.readouterr().out


def test_a_folder_without_results_is_wrong_use(tmp_path, capsys):
    assert flip(["eval", "advise", str(tmp_path)]) == 2
    assert "holds a summary.json" in capsys.readouterr().err
