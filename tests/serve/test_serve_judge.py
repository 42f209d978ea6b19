"""`flip serve judge` as a user calls it: a real process, with a small program in vLLM's place."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from open_instruct_flip.commands.main import run
from open_instruct_flip.local.models import model_path

JUDGE = str(model_path("judge"))
SERVE = (sys.executable, "-m", "open_instruct_flip", "serve", "judge")


@contextmanager
def serving(*arguments, **environment):
    command = [*SERVE, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until_ready(process):
    return [process.stdout.readline().strip() for _ in range(3)]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_lines_to_use_it_name_the_url_that_other_machines_reach(server_program, temporary, unused_tcp_port):
    program = server_program()
    options = ("--port", str(unused_tcp_port), "--host", "0.0.0.0", "--api_key_env", "KEY", "--data_parallel", "8")
    with serving(JUDGE, "--vllm_python", program, *options, "--max_model_len", "512", KEY="open sesame") as process:
        ready, for_score, for_training = lines_until_ready(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    url = f"http://{_name()}:{unused_tcp_port}/v1"
    assert "ready" in ready
    assert for_score == f"flip score IN OUT --llm_judge_model hosted_vllm/judge --api_base {url} --api_key_env KEY"
    assert for_training.startswith(f"JUDGE_MODEL=hosted_vllm/judge JUDGE_URLS={url} bash scripts/train/grpo_flip.sh")
    assert for_training.endswith("--flip_api_key_env KEY")
    about = json.loads(Path(program).with_name("about.json").read_text())
    assert about["key"] == "open sesame"
    assert "open sesame" not in about["arguments"]
    given = dict(zip(about["arguments"], about["arguments"][1:], strict=False))
    assert (given["--data-parallel-size"], given["--max-model-len"]) == ("8", "512")


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_server_that_is_stopped_leaves_no_process_and_no_folder(
    sign, code, server_program, temporary, unused_tcp_port
):
    with serving(JUDGE, "--vllm_python", server_program(), "--port", str(unused_tcp_port)) as process:
        lines_until_ready(process)
        assert len(list(temporary.glob("flip-judge-*"))) == 1
        process.send_signal(sign)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    assert not listens(unused_tcp_port)
    assert list(temporary.iterdir()) == []


def test_what_a_server_that_failed_printed_is_kept_and_named(server_program, temporary, capsys):
    assert (
        run(
            [
                "serve",
                "judge",
                JUDGE,
                "--vllm_python",
                server_program("import sys; sys.exit('no GPU to be seen')"),
                "--port",
                "0",
            ]
        )
        == 1
    )
    (log,) = temporary.glob("flip-judge-*/server.log")
    error = capsys.readouterr().err.splitlines()[-1]
    assert str(log) in error
    assert "no GPU to be seen" in error
    assert "no GPU" in log.read_text()


def test_a_server_that_ends_while_it_serves_is_an_error(server_program, temporary, unused_tcp_port):
    program = server_program()
    with serving(JUDGE, "--vllm_python", program, "--port", str(unused_tcp_port)) as process:
        lines_until_ready(process)
        (server,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(server), signal.SIGKILL)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended with code -9" in error
    assert list(temporary.glob("flip-judge-*/server.log"))


def test_a_busy_port_is_found_before_a_start_is_announced(server_program, temporary, unused_tcp_port, capsys):
    with HTTPServer(("127.0.0.1", unused_tcp_port), BaseHTTPRequestHandler):
        arguments = ["serve", "judge", JUDGE, "--vllm_python", server_program(), "--port", str(unused_tcp_port)]
        assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"port {unused_tcp_port} on 127.0.0.1 can't be used" in error
    assert list(temporary.iterdir()) == []


class Hub(BaseHTTPRequestHandler):
    """A model hub that has nothing."""

    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def empty_hub():
    with HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{hub.server_port}"
        hub.shutdown()


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ({}, 2, "nor has the hub"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, 1, "the hub can't be asked"),
        ({"HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE forbids"),
    ],
)
def test_a_model_that_nobody_has_is_refused_at_once(
    environment, code, words, empty_hub, server_program, temporary, tmp_path, unused_tcp_port
):
    where = {"HF_ENDPOINT": empty_hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")} | environment
    options = ("--vllm_python", server_program(), "--port", str(unused_tcp_port))
    started = time.monotonic()
    with serving("nobody/nothing", *options, **where) as process:
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == code
    assert error.count("\n") == 1
    assert words in error
    assert list(temporary.iterdir()) == []


def _name():
    name = socket.getfqdn()
    return socket.gethostname() if name.startswith("localhost") else name
