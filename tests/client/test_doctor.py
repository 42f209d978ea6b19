"""`flip doctor`: each thing that can be wrong is seen, said, and given a remedy."""

import json
import resource
import sys

import pytest
from judge_double import JudgeDouble, reading_reply

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.main import run
from open_instruct_flip.doctor import examine
from open_instruct_flip.failures.proof import ANSWERED
from open_instruct_flip.local.models import model_path


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("OPEN_INSTRUCT_DIR", "WANDB_MODE", "WANDB_API_KEY", "HOSTED_VLLM_API_BASE", "HOSTED_VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(sys, "path", list(sys.path))


def checks(**options):
    options = {"judge_transport": "direct", "max_attempts": 1} | options
    return {check.subject: check for check in examine(ClientConfig(**options))}


def test_all_is_well(capsys):
    with JudgeDouble(reply=reading_reply) as server:
        code = run(["doctor", "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base])
    seen = capsys.readouterr().out
    assert code == 0, seen
    assert "judgements" in seen


def test_a_model_in_this_process_is_tried_as_the_judge_that_can_use_it():
    pytest.importorskip("transformers")
    found = checks(llm_judge_model=str(model_path("judge")), judge_transport="local")
    # It knows the local world alone, and is told apart from a judge of real text.
    assert found["judgements"].state == "fail"
    assert "can't tell an answer from a stray one" in found["judgements"].found
    assert checks(llm_judge_model="./no/such/model", judge_transport="local")["judgements"].state == "fail"


def test_a_working_judge_is_tried():
    with JudgeDouble(reply=reading_reply) as server:
        found = checks(llm_judge_model="hosted_vllm/judge", api_base=server.api_base)
    assert (found["endpoint"].state, found["judgements"].state) == ("ok", "ok")
    assert "serves judge" in found["endpoint"].found
    assert "10 of 10" in found["judgements"].found
    assert "contract free" in found["judgements"].found


def grade(body):
    """A pointwise judge's reply, which knows the built-in responses."""
    shown = body["messages"][-1]["content"]
    return json.dumps({"score": 9 if any(asked in shown and answer in shown for asked, answer in ANSWERED) else 2})


def test_a_model_is_tried_as_the_judge_that_is_asked_for_with_its_options(capsys):
    with JudgeDouble(reply=grade) as server:
        given = ["doctor", "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base, "--judge"]
        assert run([*given, "pointwise", "--reply_contract", "free"]) == 0
        assert "pointwise: 10 of 10 built-in responses readable" in capsys.readouterr().out
        assert run([*given, "flip", "--reply_contract", "free"]) == 1
        assert "flip: only 0 of 10 built-in responses could be read" in capsys.readouterr().out
        assert run([*given, "no_such"]) == 1
        assert "no judge is called 'no_such'" in capsys.readouterr().out
        assert run([*given, "likelihood", "--reply_contract", "free"]) == 1
        assert "the likelihood judge has no --reply_contract" in capsys.readouterr().out
    assert run(["doctor", "--judge", "no_such"]) == 1, "without a model too"


@pytest.mark.parametrize(
    ("server", "options", "subject", "state", "text"),
    [
        ({"models": ["other"]}, {}, "endpoint", "fail", "other"),
        ({"api_key": "right"}, {}, "endpoint", "fail", "API key"),
        ({"fault": lambda number, body: 500}, {}, "judgements", "fail", "500"),
        ({"reply": "I cannot say."}, {}, "judgements", "fail", "no instruction"),
        ({}, {"llm_judge_model": "hosted_vllm/judge", "api_key_env": "NO_SUCH_KEY"}, "judge", "fail", "NO_SUCH_KEY"),
    ],
)
def test_what_is_wrong_with_a_judge_is_said(server, options, subject, state, text):
    with JudgeDouble(**server) as judge:
        found = checks(**{"llm_judge_model": "hosted_vllm/judge", "api_base": judge.api_base} | options)
    assert found[subject].state == state
    assert text in found[subject].found + found[subject].remedy
    assert found[subject].remedy


def test_a_judge_that_is_not_there_fails_the_command(capsys):
    with JudgeDouble() as server:
        pass
    assert run(["doctor", "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base]) == 1
    assert "flip serve judge" in capsys.readouterr().out


def test_a_hosted_model_without_a_url():
    found = checks(llm_judge_model="hosted_vllm/judge")["judge"]
    assert (found.state, "--api_base" in found.found) == ("fail", True)


def test_the_checks_as_json(capsys):
    with JudgeDouble(api_key="right") as server:
        code = run(["doctor", "--json", "--llm_judge_model", "hosted_vllm/judge", "--api_base", server.api_base])
    checks = {check["subject"]: check for check in json.loads(capsys.readouterr().out)}
    assert code == 1
    assert checks["versions"]["state"] == "ok"
    assert checks["endpoint"]["state"] == "fail"
    assert set(checks["endpoint"]) == {"subject", "state", "found", "remedy"}


def test_a_gpu_tool_that_can_not_run_is_a_failed_check(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("no program")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks()["GPU"].state == "fail"


@pytest.mark.parametrize(("max_concurrency", "state"), [(10, "ok"), (300, "warn"), (600, "fail")])
def test_the_limit_of_open_files(max_concurrency, state):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        assert checks(max_concurrency=max_concurrency)["open files"].state == state
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("source", "state", "text"),
    [("x = 1\n", "ok", "imports"), ("import no_such_library\n", "fail", "no_such_library"), (None, "fail", "holds no")],
)
def test_an_open_instruct_checkout(source, state, text, tmp_path, monkeypatch):
    if source is not None:
        (tmp_path / "open_instruct").mkdir()
        (tmp_path / "open_instruct" / "__init__.py").touch()
        (tmp_path / "open_instruct" / "ground_truth_utils.py").write_text(source)
    monkeypatch.setenv("OPEN_INSTRUCT_DIR", str(tmp_path))
    found = checks()["Open Instruct"]
    assert (found.state, text in found.found) == (state, True)


@pytest.mark.parametrize(
    ("variables", "state"), [({"WANDB_MODE": "offline"}, "ok"), ({"WANDB_API_KEY": "x"}, "ok"), ({}, "warn")]
)
def test_wandb(variables, state, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert checks()["W&B"].state == state
