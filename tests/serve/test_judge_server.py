"""`JudgeServer`: what is refused before anything starts, and what is told while it starts."""

import pytest

from open_instruct_flip.errors import FlipError, UsageError
from open_instruct_flip.local.models import model_path
from open_instruct_flip.serve import judge_server
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer

JUDGE = model_path("judge")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 99_999}, "--port is 1 to 65535"),
        ({"vllm_python": "/nowhere/python"}, "/nowhere/python is no program"),
        ({"extra_args": "--name 'x"}, "can't be parted"),
        ({"max_model_len": 0}, "--max_model_len must be above 0, got 0"),
        ({"data_parallel": 0}, "--data_parallel must be above 0, got 0"),
        ({"start_timeout_s": float("inf")}, "must be a finite number above 0, got inf"),
        ({"host": "0.0.0.0", "backend": "transformers"}, "can be reached from other machines"),
        ({"host": "no.such.host.invalid", "api_key_env": "KEY"}, "can't be used"),
        ({"api_key_env": "EMPTY_KEY"}, "EMPTY_KEY, which is not set or empty"),
        ({"api_key_env": "KEY", "backend": "transformers", "vllm_python": None}, "can't ask for a key"),
        ({"data_parallel": 2, "backend": "transformers", "vllm_python": None}, "one replica"),
    ],
)
def test_a_server_that_cannot_start_is_refused(options, words, server_program, monkeypatch):
    monkeypatch.setenv("KEY", "k")
    monkeypatch.setenv("EMPTY_KEY", "")
    with pytest.raises(UsageError, match=words):
        JudgeServer(JUDGE, ServerConfig(**{"vllm_python": server_program()} | options)).start()


@pytest.mark.parametrize("model", ["", "./nowhere", "~/nowhere", "a/b/c", "two words", "models/judge/", "-x"])
def test_a_name_that_can_mean_no_model_is_refused(model):
    with pytest.raises(UsageError, match="there is no model folder"):
        JudgeServer(model)


@pytest.mark.parametrize(
    ("host", "own", "shared"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]", "[::1]"),
        ("0.0.0.0", "127.0.0.1", "judge.example"),
        ("::", "[::1]", "judge.example"),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7"),
    ],
)
def test_the_url_for_this_machine_and_for_others(host, own, shared, server_program, monkeypatch):
    monkeypatch.setattr("socket.getfqdn", lambda: "judge.example")
    monkeypatch.setenv("KEY", "k")
    config = ServerConfig(host=host, port=8001, api_key_env="KEY", vllm_python=server_program())
    server = JudgeServer(JUDGE, config)
    assert (server.api_base, server.shared_api_base) == (f"http://{own}:8001/v1", f"http://{shared}:8001/v1")


def test_while_a_server_loads_its_last_words_are_told(server_program, temporary, monkeypatch):
    monkeypatch.setattr(judge_server, "NEWS_EVERY_S", 0.3)
    told = []
    config = ServerConfig(port=0, vllm_python=server_program(loading_s=1.5))
    with JudgeServer(JUDGE, config, say=told.append) as server:
        assert told[0] == f"serving judge with vllm (log: {server.log_path})"
    assert "Loading weights: half of them" in told[-1]


def test_a_server_that_never_becomes_healthy_is_stopped_and_its_log_kept(server_program, temporary):
    config = ServerConfig(port=0, vllm_python=server_program(loading_s=60.0), start_timeout_s=1.0)
    with pytest.raises(FlipError, match="was not healthy after 1 s"):
        JudgeServer(JUDGE, config).start()
    assert len(list(temporary.glob("flip-judge-*/server.log"))) == 1


def test_the_first_exception_is_the_reason_not_those_that_follow_from_it(server_program, temporary):
    program = """
import sys
print("WARNING [system.py:255] this can cause errors like `OSError: [Errno 24] Too many open files`")
print("(Worker pid=1) ERROR [executor.py:953] ValueError: Available memory is less than desired")
sys.exit("RuntimeError: Engine core initialization failed. See root cause above.")
"""
    with pytest.raises(FlipError, match=r"server.log\): ValueError: Available memory is less than desired$"):
        JudgeServer(JUDGE, ServerConfig(port=0, vllm_python=server_program(program))).start()


def test_a_log_of_the_callers_own_stays(server_program, temporary, tmp_path):
    log = tmp_path / "judge.log"
    with JudgeServer(JUDGE, ServerConfig(port=0, vllm_python=server_program()), log_path=log):
        assert list(temporary.iterdir()) == []
    assert "Loading weights" in log.read_text()
