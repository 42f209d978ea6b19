"""`POST /v1/rewards`: what it gives, what it refuses, and what a failed judgement becomes there."""

import json
import threading

import pytest
from judge_double import varied_reply

from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.serve.reward.config import RewardServerConfig, ServerFailureConfig, check_times

PROMPT = "Name three causes why soil may be lost in spring."
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
GROUP = {"messages": TURNS, "responses": ["Rain.", "Wind."]}


def gibberish_is_unreadable(body):
    return "no JSON" if "Gibberish" in str(body["messages"]) else varied_reply(body)


def error_of(answer):
    return answer.json()["error"]


async def test_it_gives_what_the_judge_gives_in_order_with_the_groups_ids(reward_server, judge_double):
    double = judge_double()
    server = reward_server(double.api_base)
    rows = server.rewards(GROUP | {"id": "soil"}, {"prompt": PROMPT, "responses": ["Frost."]}).json()["rewards"]
    assert [(row["id"], row["index"]) for row in rows] == [("soil", 0), ("soil", 1), (1, 0)]
    async with FlipJudge("hosted_vllm/judge", double.api_base, judge_transport="direct") as judge:
        directly = [*await judge.score(TURNS, ["Rain.", "Wind."]), *await judge.score(TURNS[1:], ["Frost."])]
    for row, reward in zip(rows, directly, strict=True):
        assert row["score"] == row["reward"] == reward.score
        assert row.items() >= {k: v for k, v in reward.as_row().items() if k != "latency_s"}.items()


def test_the_ground_truth_takes_the_place_of_the_last_user_turn(reward_server):
    wrapped = [TURNS[0], {"role": "user", "content": f"Answer this, please: {PROMPT}"}]
    rows = reward_server().rewards(
        GROUP, GROUP | {"messages": wrapped, "ground_truth": PROMPT}, {"ground_truth": PROMPT, "responses": ["Rain."]}
    )
    scores = [row["score"] for row in rows.json()["rewards"]]
    assert scores[:2] == scores[2:4]
    assert len(scores) == 5


def test_thinking_that_the_template_opened_is_not_judged(reward_server, judge_double):
    double = judge_double()
    server = reward_server(double.api_base, server={"thinking_opened": True})
    (row,) = server.rewards({"prompt": PROMPT, "responses": ["They ask of soil.</think>Rain."]}).json()["rewards"]
    assert row["score"] > 0
    assert "They ask" not in json.dumps(double.bodies)


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        (b'{"groups": [', "byte 12", "no JSON"),
        (b"[]", "body", "valid dictionary"),
        (b"{}", "groups", "field required"),
        (b'{"groups": []}', "groups", "at least 1 item"),
        ({"groups": [GROUP, {"prompt": "a"}]}, "groups[1].responses", "field required"),
        ({"groups": [GROUP | {"responses": ["a", 3]}]}, "groups[0].responses[1]", "valid string"),
        ({"groups": [GROUP | {"responses": "a"}]}, "groups[0].responses", "valid list"),
        ({"groups": [GROUP | {"respones": ["a"]}]}, "groups[0].respones", "extra inputs are not permitted"),
        ({"groups": [{"responses": ["a"]}]}, "groups[0]", "give messages, prompt or ground_truth"),
        ({"groups": [GROUP | {"prompt": "a"}]}, "groups[0]", "not both"),
        ({"groups": [GROUP | {"messages": TURNS[:1]}]}, "groups[0]", "must end with a user turn"),
        ({"groups": [GROUP, {"prompt": "?!", "responses": ["a"]}]}, "groups[1]", "no word to compare with"),
    ],
)
def test_bad_input_is_refused_with_its_place_before_anything_is_judged(body, place, words, reward_server, judge_double):
    double = judge_double()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    server = reward_server(double.api_base)
    answer = server.client.post("/v1/rewards", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, error_of(answer)["place"]) == (422, place)
    assert words in error_of(answer)["message"]
    assert double.num_requests == 0


def test_a_body_that_is_not_called_json_is_told_so(reward_server):
    answer = reward_server().client.post("/v1/rewards", content=b"{}")
    assert answer.status_code == 422
    assert "Content-Type: application/json" in error_of(answer)["message"]


def test_a_judge_that_compares_refuses_a_group_of_one(reward_server):
    answer = reward_server(server={"judge": "pairwise"}).rewards({"prompt": PROMPT, "responses": ["a"]})
    assert (answer.status_code, error_of(answer)["place"]) == (422, "groups[0]")
    assert "two or more per prompt" in error_of(answer)["message"]


def test_one_failure_in_a_group_gets_what_the_shared_rules_give_it(reward_server, judge_double):
    double = judge_double(reply=gibberish_is_unreadable)
    group = {"prompt": PROMPT, "responses": ["Rain.", "Gibberish.", "Wind."]}
    rain, gibberish, wind = reward_server(double.api_base).rewards(group).json()["rewards"]
    assert (gibberish["reward"], gibberish["error"]) == (None, "unreadable_reply")
    assert gibberish["score"] == min(rain["score"], wind["score"])


@pytest.mark.parametrize("rule", ["group_mean", "zero"])
def test_a_failed_group_is_never_a_number_and_the_others_keep_their_rewards(rule, reward_server, judge_double):
    double = judge_double(reply=gibberish_is_unreadable)
    server = reward_server(double.api_base, failures={"on_unreadable": rule, "on_failure": rule})
    answer = server.rewards({"prompt": PROMPT, "responses": ["Gibberish."]}, GROUP)
    assert (answer.status_code, error_of(answer)["type"]) == (502, "unreadable_reply")
    assert error_of(answer)["place"] == "groups[0]"
    failed, *others = answer.json()["rewards"]
    assert (failed["score"], failed["reward"]) == (None, None)
    assert all(row["score"] is not None for row in others)


def test_the_rule_that_raises_is_an_error(reward_server, judge_double):
    double = judge_double(reply=gibberish_is_unreadable)
    server = reward_server(double.api_base, failures={"on_unreadable": "raise"})
    answer = server.rewards({"prompt": PROMPT, "responses": ["Rain.", "Gibberish."]})
    assert (answer.status_code, error_of(answer)["type"]) == (502, "judge_failed")


@pytest.mark.parametrize("status", [500, 429, 401])
def test_a_judge_that_is_down_is_a_503_with_its_reason(status, reward_server, judge_double):
    double = judge_double(fault=lambda number, body: status)
    answer = reward_server(double.api_base).rewards(GROUP)
    assert (answer.status_code, error_of(answer)["type"]) == (503, "judge_unavailable")
    assert str(status) in error_of(answer)["message"]
    assert int(answer.headers["Retry-After"]) > 0


def test_a_judge_that_comes_back_within_the_wait_loses_nothing(reward_server, judge_double):
    double = judge_double(fault=lambda number, body: 500 if number < 4 else None)
    answer = reward_server(double.api_base, failures={"outage_timeout_s": 20}).rewards(GROUP)
    assert answer.status_code == 200
    assert all(row["reward"] is not None for row in answer.json()["rewards"])


def test_a_wait_that_outlasts_the_deadline_is_refused():
    check_times(RewardServerConfig(), ServerFailureConfig())
    with pytest.raises(UsageError, match=r"--outage_timeout_s 900 must be below --deadline_s 170"):
        check_times(RewardServerConfig(), ServerFailureConfig(outage_timeout_s=900))


def test_half_a_surrogate_pair_comes_through_though_no_utf_8_can_hold_it(reward_server):
    content = b'{"groups": [{"id": "\\ud800", "prompt": "soil \\ud800 lost", "responses": ["Rain \\ud800."]}]}'
    answer = reward_server().client.post("/v1/rewards", content=content, headers={"Content-Type": "application/json"})
    (row,) = answer.json()["rewards"]
    assert row["id"] == "\ud800"
    assert row["reward"] is not None


def test_the_server_describes_itself_and_counts(reward_server):
    server = reward_server()
    assert server.rewards(GROUP).status_code == 200
    assert server.rewards({}).status_code == 422
    assert server.client.get("/health").json() == {"status": "ok"}
    assert {"/v1/rewards", "/get_reward"} <= server.client.get("/openapi.json").json()["paths"].keys()
    counts = server.client.get("/metrics").text
    assert 'flip_responses_total{outcome="judged"} 2.0' in counts
    assert 'flip_requests_total{path="/v1/rewards",status="422"} 1.0' in counts
    assert "flip_rollouts_held 0.0" in counts


def test_many_requests_at_once_each_get_their_own(reward_server):
    server = reward_server()
    expected = {text: server.rewards({"prompt": PROMPT, "responses": [text]}).json() for text in map(str, range(24))}
    seen = {}

    def ask(text):
        seen[text] = server.rewards({"prompt": PROMPT, "responses": [text]}).json()

    threads = [threading.Thread(target=ask, args=(text,)) for text in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scores = {text: body["rewards"][0]["score"] for text, body in seen.items()}
    assert scores == {text: body["rewards"][0]["score"] for text, body in expected.items()}
    assert len(set(scores.values())) > 3
