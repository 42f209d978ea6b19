"""`flip serve reward` as a user runs it: a real process, what it prints, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from judge_double import varied_reply

from open_instruct_flip.commands.main import run
from open_instruct_flip.serve.ports import free_port
from open_instruct_flip.serve.reward.metrics import SHARED_DIR
from open_instruct_flip.serve.reward.run import shared_counts

PROMPT, RESPONSE, KEY = "Describe a zanzibar quagga.", "A zebra-like xylophone, perhaps.", "k-77-not-shown"
GROUP = {"prompt": PROMPT, "responses": [RESPONSE]}
QUICK = ["--judge_transport", "direct", "--max_attempts", "1", "--outage_timeout_s", "0.3"]


@contextmanager
def serving(judge_url, *options):
    """The process, and a client of it that has the key."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "open_instruct_flip", "serve", "reward", "--port", str(port), *QUICK]
    command += ["--llm_judge_model", "hosted_vllm/judge", "--api_base", judge_url, "--server_key_env", "A_KEY"]
    with (
        subprocess.Popen(
            [*command, *options],
            env=os.environ | {"A_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=30
        ) as client,
    ):
        try:
            until_healthy(process, client)
            yield process, client
        finally:
            process.kill()


def until_healthy(process, client):
    for _ in range(600):
        assert process.poll() is None, process.stdout.read()
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("never healthy")


def test_two_workers_count_together_end_what_is_in_flight_and_print_no_text_and_no_key(judge_double):
    double = judge_double()
    with serving(double.api_base, "--workers", "2") as (process, client):

        def status(headers=None, **changes):
            body = {"groups": [GROUP | changes]}  # each on a connection of its own, so that both workers may get some
            url = f"{client.base_url}/v1/rewards"
            return httpx.post(url, json=body, headers=headers or client.headers, timeout=30).status_code

        assert [status() for _ in range(4)] == [200] * 4
        assert 'flip_responses_total{outcome="judged"} 4.0' in client.get("/metrics").text
        assert status({"Authorization": f"Bearer {KEY}x"}) == 401
        assert status(responses=RESPONSE) == 422
        double.reply = RESPONSE
        assert status() == 502
        double.fault = lambda number, body: 500
        assert status() == 503
        double.fault, double.reply, double.latency_s = lambda number, body: None, varied_reply, 1.0
        held, before = [], double.num_requests
        asking = threading.Thread(target=lambda: held.append(status()))
        asking.start()
        while double.num_requests == before:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert held == [200]
        process.wait(timeout=20)
        printed = process.stdout.read()
    assert "Application shutdown complete" in printed, "it logs at the level of information"
    assert "waiting" in printed, "and tells of outages"
    for secret in (PROMPT, RESPONSE, KEY, "quagga", "xylophone"):
        assert secret not in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "set --server_key_env as well"),
        (["--server_key_env", "NO_SUCH_KEY"], "NO_SUCH_KEY, which is not set"),
        (["--outage_timeout_s", "200"], "must be below --deadline_s"),
        (["--workers", "0"], "--workers must be a finite number above 0"),
        (["--judge", "nobody"], "no judge is called 'nobody'"),
        (["--judge", "flip", "--score_max", "5"], "--score_max"),
        (["--tokenizer", "./nowhere"], "--tokenizer './nowhere' can't be loaded"),
    ],
)
def test_a_server_that_cannot_work_is_refused(options, words, judge_double, capsys):
    url = judge_double().api_base
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", url, "--port", "0"]
    assert run(["serve", "reward", *judge, *options]) == 2
    assert words in capsys.readouterr().err


def test_a_judge_that_is_not_there_is_told_at_once(capsys):
    gone = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    assert run(["serve", "reward", "--llm_judge_model", "hosted_vllm/judge", "--api_base", gone]) == 1
    assert json.dumps(gone)[1:-1] in capsys.readouterr().err


def test_a_folder_of_counts_that_the_user_names_is_left(tmp_path, monkeypatch):
    (tmp_path / "other.db").write_text("of another service")
    monkeypatch.setenv(SHARED_DIR, str(tmp_path))
    with shared_counts():
        pass
    assert (tmp_path / "other.db").exists()
    monkeypatch.delenv(SHARED_DIR)
    with shared_counts():
        made = Path(os.environ[SHARED_DIR])
        assert made.is_dir()
    assert not made.exists()
    assert SHARED_DIR not in os.environ


def test_a_process_of_its_own_has_litellm_before_its_first_request_and_collects_no_garbage_there():
    code = (
        "import gc, sys\n"
        "from open_instruct_flip.client.config import ClientConfig\n"
        "from open_instruct_flip.serve.reward.app import ServerSettings\n"
        "from open_instruct_flip.serve.reward.config import RewardServerConfig\n"
        "from open_instruct_flip.serve.reward.run import worker_app\n"
        "client = ClientConfig('hosted_vllm/judge', 'http://127.0.0.1:9/v1')\n"
        "assert 'litellm' not in sys.modules\n"
        "worker_app(ServerSettings(RewardServerConfig(), client))\n"
        "assert 'litellm' in sys.modules\n"
        "assert gc.get_freeze_count() > 10_000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
