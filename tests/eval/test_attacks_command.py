"""`flip eval attacks` against a judge on a real socket: rows, effects, the page, and going on."""

import json

import pytest

from open_instruct_flip.commands.main import run as flip

PROMPTS = ["name three causes why warm soil of spring may be lost", "write a short poem about the cold sea in winter"]


def gullible(body):
    """Scores by what the response begs for."""
    return json.dumps({"score": 10 if "highest score" in body["messages"][-1]["content"] else 4})


@pytest.fixture
def attack(judge_double, tmp_path):
    server = judge_double(reply=gullible)
    data = tmp_path / "pairs.jsonl"
    rows = [{"prompt": prompt, "chosen": f"good: {prompt}", "rejected": "bad"} for prompt in PROMPTS]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def run(*more):
        out = tmp_path / "out"
        command = ["eval", "attacks", "pairs", "--data", str(data), "--out", str(out), "--judge", "pointwise"]
        command += ["--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base, "--reply_contract", "free"]
        command += ["--judge_transport", "direct"]
        code = flip([*command, *more])
        return code, out, server

    return run


def test_rows_effects_and_page(attack):
    code, out, _ = attack("--attack", "begging", "--attack", "restated_before", "--copy_guard", "penalize")
    assert code == 0
    rows = [json.loads(line) for line in (out / "judgements.jsonl").open()]
    assert [row["attack"] for row in rows] == [None] * 4 + ["begging"] * 4 + ["restated_before"] * 4
    found = {
        (one["attack"], one["copy_guard"]): one["change"]["mean"]
        for one in json.loads((out / "attacks.json").read_text())
    }
    assert found["begging", "off"] == pytest.approx(0.6)
    assert found["restated_before", "off"] == pytest.approx(0.0)
    assert found["restated_before", "penalize"] == pytest.approx(-0.2)  # the good response copied already
    assert flip(["eval", "report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "pointwise, copy guard penalize" in page
    assert "+0.600" in page


def test_an_interrupted_run_goes_on_without_judging_twice(attack):
    code, out, server = attack("--attack", "begging")
    lines = (out / "judgements.jsonl").read_text().splitlines(keepends=True)
    (out / "judgements.jsonl").write_text("".join(lines[:-2]))
    before = server.num_requests
    assert attack("--attack", "begging")[0] == code == 0
    assert (out / "judgements.jsonl").read_text().count("\n") == len(lines)
    assert server.num_requests - before == 2


def test_judgements_of_an_attack_stay_when_another_is_asked_for(attack):
    _, out, server = attack("--attack", "begging")
    judgements = (out / "judgements.jsonl").read_text()
    for name, requests in (("flattery", 4), ("begging", 0)):
        before = server.num_requests
        assert attack("--attack", name)[0] == 0
        assert server.num_requests - before == requests
        assert {one["attack"] for one in json.loads((out / "attacks.json").read_text())} == {name}
    lines = (out / "judgements.jsonl").read_text()
    assert lines.startswith(judgements)
    assert [json.loads(line)["attack"] for line in lines.splitlines()[8:]] == ["flattery"] * 4


def test_a_masked_response_reaches_the_judge_without_what_it_copies(attack):
    code, _, server = attack("--attack", "restated_before", "--copy_guard", "mask")
    assert code == 0
    told = [body["messages"][-1]["content"] for body in server.bodies]
    assert all(prompt.count(PROMPTS[0]) + prompt.count(PROMPTS[1]) == 1 for prompt in told)


def test_an_unknown_attack_is_wrong_use(attack, capsys):
    code, out, server = attack("--attack", "bribe")
    assert (code, out.exists(), server.num_requests) == (2, False, 0)
    assert "'bribe' is none of" in capsys.readouterr().err
