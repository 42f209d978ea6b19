"""What a reward server refuses before it judges: keys, sizes, crowds, deadlines."""

import threading
import time

import pytest

GROUP = {"prompt": "Name three causes why soil may be lost.", "responses": ["Rain.", "Wind."]}
KEY = "k-3fe-not-shown"


def error_of(answer):
    return answer.json()["error"]["type"]


@pytest.fixture
def locked(reward_server, monkeypatch):
    monkeypatch.setenv("A_SERVERS_KEY", KEY)
    return reward_server(server={"server_key_env": "A_SERVERS_KEY"})


@pytest.mark.parametrize("given", [None, "", KEY, "Bearer", f"Bearer {KEY}x", f"bearer {KEY}", "Bearer \xff"])
def test_a_wrong_key_gets_nothing(given, locked):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    for path in ("/v1/rewards", "/get_reward", "/metrics"):
        answer = locked.client.request("POST", path, json={"groups": [GROUP]}, headers=headers)
        assert (answer.status_code, error_of(answer)) == (401, "wrong_key")
        assert KEY not in answer.text


def test_the_key_opens_and_health_needs_none(locked):
    headers = {"Authorization": f"Bearer {KEY}"}
    assert locked.client.post("/v1/rewards", json={"groups": [GROUP]}, headers=headers).status_code == 200
    assert locked.client.get("/health").status_code == 200


@pytest.mark.parametrize("told", [True, False])
def test_a_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not(told, reward_server):
    server = reward_server(server={"max_body_mb": 0.01})
    content = b" " * 20_000 if told else iter([b" " * 6_000] * 4)
    answer = server.client.post("/v1/rewards", content=content)
    assert (answer.status_code, error_of(answer)) == (413, "too_large")
    assert "--max_body_mb" in answer.text
    assert server.rewards(GROUP).status_code == 200


def test_above_the_queues_limit_a_request_is_told_when_to_come_again(reward_server, judge_double):
    double = judge_double(latency_s=1.0)
    server = reward_server(double.api_base, server={"max_rollouts": 3})
    held = {}
    first = threading.Thread(target=lambda: held.update(answer=server.rewards(GROUP)))
    first.start()
    while not double.num_requests:
        time.sleep(0.01)
    answer = server.rewards(GROUP)
    assert (answer.status_code, error_of(answer)) == (429, "busy")
    assert int(answer.headers["Retry-After"]) > 0
    first.join()
    assert held["answer"].status_code == 200, "what was let in is judged"
    assert server.rewards(GROUP).status_code == 200, "and makes room"
    too_many = server.rewards(GROUP, GROUP)
    assert (too_many.status_code, error_of(too_many)) == (413, "too_large")


def test_a_request_that_takes_too_long_gets_a_504_and_makes_room(reward_server, judge_double):
    double = judge_double(latency_s=20.0)
    server = reward_server(double.api_base, server={"deadline_s": 0.5})
    answer = server.rewards(GROUP)
    assert (answer.status_code, error_of(answer)) == (504, "deadline")
    assert "flip_rollouts_held 0.0" in server.client.get("/metrics").text
