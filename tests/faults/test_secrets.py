"""A key reaches the judge's server, and nothing else: no log, error, report, representation or pickle."""

import base64
import logging
import pickle

import pytest
from misbehaving import INSTRUCTION, MisbehavingJudge, answers, fails, gives, hangs, resets

from open_instruct_flip import FlipJudge
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.probe import probe
from open_instruct_flip.errors import FlipError, UsageError

CONVERSATION = [{"role": "user", "content": INSTRUCTION}]
SECRET = "sk-7Wq-do-not-show"
BEHAVIOURS = {
    "well": answers(),
    "error": fails(500),
    "refused": fails(401, "invalid key"),
    "unknown model": fails(404),
    "reset": resets(),
    "broken": gives(b"{"),
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("A_JUDGES_KEY", SECRET)


@pytest.mark.parametrize("transport", ["litellm", "direct"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_no_log_and_no_error_holds_the_key(behaviour, transport, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("LiteLLM").setLevel(logging.DEBUG)
    text = ""
    async with MisbehavingJudge(then=BEHAVIOURS[behaviour]) as server:
        judge = FlipJudge(
            "hosted_vllm/j", server.url, judge_transport=transport, api_key_env="A_JUDGES_KEY", max_attempts=2,
            retry_wait_s=0.01, reply_contract="free")  # fmt: skip
        try:
            text = repr(await judge.score(CONVERSATION, ["a response"]))
        except FlipError as error:
            chain = [error, error.__cause__, error.__context__]
            text = " ".join(f"{e!r} {e}" for e in chain)
        await judge.aclose()
        assert any(f"Bearer {SECRET}" in header for header in server.headers)
    seen = capfd.readouterr()
    assert text
    assert SECRET not in text + caplog.text + seen.out + seen.err


@pytest.mark.parametrize("transport", ["litellm", "direct"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_a_password_in_the_url_reaches_the_server_and_no_message(behaviour, transport, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    text = ""
    async with MisbehavingJudge(then=BEHAVIOURS[behaviour]) as server:
        url = server.url.replace("://", f"://me:{SECRET}@")
        judge = FlipJudge(
            "hosted_vllm/j", url, judge_transport=transport, max_attempts=2, retry_wait_s=0.01, reply_contract="free"
        )
        try:
            text = str(await judge.score(CONVERSATION, ["a response"]))
        except FlipError as error:
            text = " ".join(f"{e!r} {e}" for e in (error, error.__cause__, error.__context__))
        await judge.aclose()
        basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
        assert all(f"Authorization: Basic {basic}" in header for header in server.headers)
    seen = capfd.readouterr()
    assert text
    assert server.headers
    assert SECRET not in text + caplog.text + seen.out + seen.err


async def test_the_probe_and_a_silent_server_show_no_password(caplog):
    async with MisbehavingJudge(then=hangs) as server:
        url = server.url.replace("://", f"://me:{SECRET}@")
        async with FlipJudge(
            "hosted_vllm/j", url, judge_transport="direct", timeout_s=0.1, max_attempts=1, reply_contract="free"
        ) as judge:
            (reward,) = await judge.score(CONVERSATION, ["a response"])
    (report,) = await probe(ClientConfig("hosted_vllm/j", url))
    assert server.url in reward.detail
    assert server.url in report.problem
    assert SECRET not in f"{reward} {report}"


def test_a_url_that_is_refused_shows_no_password():
    with pytest.raises(UsageError, match="has no http://") as raised:
        FlipJudge("hosted_vllm/j", f"ftp://me:{SECRET}@host/v1", reply_contract="free")
    assert SECRET not in str(raised.value)


def test_no_representation_and_no_pickle_holds_the_key():
    judge = FlipJudge("hosted_vllm/j", "http://127.0.0.1:9/v1", api_key_env="A_JUDGES_KEY", reply_contract="free")
    assert SECRET not in f"{judge!r} {judge.client!r} {judge.client.config!r} {vars(judge)}"
    assert SECRET.encode() not in pickle.dumps(judge)


def test_a_hosted_model_without_a_url_is_refused_before_any_request(monkeypatch):
    monkeypatch.delenv("HOSTED_VLLM_API_BASE", raising=False)
    with pytest.raises(UsageError, match="needs the URL of its server"):
        FlipJudge("hosted_vllm/j", reply_contract="free")


def test_a_variable_that_is_not_set_is_named_and_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("A_JUDGES_KEY")
    judge = FlipJudge("hosted_vllm/j", "http://127.0.0.1:9/v1", api_key_env="A_JUDGES_KEY", reply_contract="free")
    with pytest.raises(UsageError, match="A_JUDGES_KEY, which is not set"):
        judge.score_sync(CONVERSATION, ["a response"])
