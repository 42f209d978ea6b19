"""A reward server that runs: in a thread of this process, on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx
import uvicorn

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.serve.ports import free_port
from open_instruct_flip.serve.reward.app import ServerSettings, make_app
from open_instruct_flip.serve.reward.config import RewardServerConfig, ServerFailureConfig

QUICK = {"max_attempts": 2, "retry_wait_s": 0.01, "judge_transport": "direct"}
MODEL = "hosted_vllm/judge"


class RunningRewardServer:
    """A context manager; `client` is an httpx client of the running server.

    Args:
        judge_url: The judge's URL.
        server, failures, judge: Options by name.
    """

    def __init__(
        self,
        judge_url: str,
        server: Mapping[str, Any] | None = None,
        failures: Mapping[str, Any] | None = None,
        judge: Mapping[str, Any] | None = None,
    ) -> None:
        settings = ServerSettings(
            RewardServerConfig(**(server or {})),
            ClientConfig(llm_judge_model=MODEL, api_base=judge_url, **QUICK),
            judge or {},
            ServerFailureConfig(**({"outage_timeout_s": 0.2} | dict(failures or {}))),
        )
        self.url = f"http://127.0.0.1:{(port := free_port('127.0.0.1'))}"
        self._server = uvicorn.Server(uvicorn.Config(make_app(settings), port=port, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def __enter__(self) -> RunningRewardServer:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(timeout=20)
        assert not self._thread.is_alive(), "the server does not end"

    def rewards(self, *groups: Mapping[str, Any]) -> httpx.Response:
        """Post groups to `/v1/rewards`."""
        return self.client.post("/v1/rewards", json={"groups": groups})
