"""The probe against real ports: there, gone, silent, with another model, behind a key."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from judge_double import JudgeDouble

from open_instruct_flip.client import probe as probe_module
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.probe import check_endpoints, identities, probe
from open_instruct_flip.errors import JudgeUnusableError, UsageError

Start = Callable[..., JudgeDouble]


def config(*urls: str, model: str = "hosted_vllm/judge", **options: str) -> ClientConfig:
    return ClientConfig(llm_judge_model=model, api_base=",".join(urls), **options)


@pytest.fixture
def closed_url() -> str:
    """Nothing listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Something listens there and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


async def test_a_judge_that_serves_the_model_is_ready(judge_double: Start) -> None:
    double = judge_double(models=["other", "judge"])
    (report,) = await probe(config(double.api_base))
    assert (report.state, report.model_names) == ("ready", ("other", "judge"))
    assert double.num_requests == 0


async def test_a_report_says_which_model_it_is(judge_double: Start) -> None:
    first, second = (judge_double(about={"root": f"/models/{n}", "max_model_len": 4096}) for n in (1, 2))
    reports = await probe(config(first.api_base, second.api_base, first.api_base, judge_double().api_base))
    one, other = (f"judge (root /models/{n}, max_model_len 4096)" for n in (1, 2))
    assert [report.identity for report in reports] == [one, other, one, "judge"]
    assert identities(reports) == ["judge", one, other]


async def test_transformers_serve_fails_at_models_and_is_asked_for_its_health(judge_double: Start) -> None:
    (report,) = await probe(config(judge_double(models=None).api_base))
    assert (report.state, report.model_names) == ("ready", None)


async def test_a_list_of_the_download_cache_says_nothing_about_the_model(judge_double: Start) -> None:
    double = judge_double(models=[("org/cached", "org"), ("plain", "")])
    (report,) = await probe(config(double.api_base))
    assert (report.state, report.model_names) == ("ready", None)


def test_another_model_is_named_with_the_remedy(judge_double: Start) -> None:
    double = judge_double(models=["Qwen/Qwen3-4B"])
    with pytest.raises(
        JudgeUnusableError, match="'judge' but Qwen/Qwen3-4B; set --llm_judge_model hosted_vllm/Qwen"
    ) as e:
        check_endpoints(config(double.api_base))
    assert double.api_base in str(e.value)


def test_a_dead_judge_is_named_with_the_remedy(closed_url: str) -> None:
    with pytest.raises(
        JudgeUnusableError, match=rf"{closed_url} \(Connection refused\); start it with `flip serve judge"
    ):
        check_endpoints(config(closed_url))


def test_a_silent_judge_is_given_up_on(silent_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(JudgeUnusableError, match=rf"{silent_url} does not answer within 0.2 s"):
        check_endpoints(config(silent_url))


def test_one_dead_of_three_is_a_warning(judge_double: Start, closed_url: str, caplog: pytest.LogCaptureFixture) -> None:
    urls = (judge_double().api_base, closed_url, judge_double().api_base)
    reports = check_endpoints(config(*urls))
    assert [(r.url, r.state) for r in reports] == list(zip(urls, ("ready", "down", "ready"), strict=True))
    assert closed_url in caplog.text


@pytest.mark.parametrize("given", [None, "a-wrong-key"])
def test_a_refused_key_is_named_but_never_shown(
    judge_double: Start, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOSTED_VLLM_API_KEY", raising=False)
    monkeypatch.setenv("JUDGE_KEY", given or "")
    double = judge_double(api_key="right")
    with pytest.raises(JudgeUnusableError, match=r"refuses the API key \(401\).*--api_key_env") as e:
        check_endpoints(config(double.api_base, **({"api_key_env": "JUDGE_KEY"} if given else {})))
    assert "a-wrong-key" not in str(e.value)


@pytest.mark.parametrize("name", ["JUDGE_KEY", "HOSTED_VLLM_API_KEY"])
async def test_the_key_is_sent(judge_double: Start, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "right")
    options = {"api_key_env": name} if name == "JUDGE_KEY" else {}
    (report,) = await probe(config(judge_double(api_key="right").api_base, **options))
    assert report.state == "ready"


def test_a_url_without_v1_is_refused(judge_double: Start) -> None:
    url = judge_double().api_base.removesuffix("/v1")
    with pytest.raises(JudgeUnusableError, match=rf"{url} \(404\); --api_base ends in /v1"):
        check_endpoints(config(url))


def test_a_key_that_is_not_set_is_wrong_use(judge_double: Start) -> None:
    with pytest.raises(UsageError, match="NO_SUCH_KEY"):
        check_endpoints(config(judge_double().api_base, api_key_env="NO_SUCH_KEY"))


async def test_a_provider_with_a_url_of_its_own_is_not_asked() -> None:
    assert await probe(ClientConfig(llm_judge_model="openai/gpt-4o-mini")) == []
