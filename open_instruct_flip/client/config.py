"""How a judge model is reached: the one place where a client option is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from open_instruct_flip.checks import check_above_zero, check_zero_or_above
from open_instruct_flip.client.urls import has_credentials, shown_url
from open_instruct_flip.errors import UsageError

TransportName = Literal["litellm", "direct", "local", "none"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
HOSTED_VLLM = "hosted_vllm/"


@dataclass(frozen=True)
class ClientConfig:
    """Endpoint, limits and retries of a judge client. Plain values only: it is pickled into workers."""

    llm_judge_model: str = field(
        default="", metadata={"help": "Judge model, as litellm names it: hosted_vllm/<served name>, openai/..., ..."}
    )
    api_base: str | None = field(
        default=None,
        metadata={"help": "URL of the judge server, ending in /v1; several with commas. Else $HOSTED_VLLM_API_BASE"},
    )
    api_key_env: str | None = field(
        default=None, metadata={"help": "Name of the environment variable that holds the judge's API key"}
    )
    max_concurrency: int = field(default=256, metadata={"help": "Requests in flight per process"})
    timeout_s: float = field(
        default=120.0, metadata={"help": "Seconds one request may take; waiting for a free slot does not count"}
    )
    max_attempts: int = field(default=4, metadata={"help": "Requests per judgement, the first included"})
    retry_wait_s: float = field(
        default=1.0, metadata={"help": "First wait between attempts, in seconds; doubled each time, with jitter"}
    )
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder on a local disk that keeps the judge's answers at temperature 0 or with a seed"},
    )
    judge_transport: TransportName = field(
        default="litellm",
        metadata={
            "help": "litellm works for every provider; direct (hosted_vllm only) sends the same without importing it; "
            "local runs the model of a folder in this process, for the likelihood judge; none asks no model, for esfp "
            "without explanations"
        },
    )
    judge_device: str = field(
        default="cpu", metadata={"help": "Where a judge's model in this process runs, such as cpu or cuda:1"}
    )
    judge_dtype: DtypeName = field(
        default="auto",
        metadata={"help": "Its precision under --judge_transport local; auto: float32 on a CPU, else as stored"},
    )
    max_prompt_logprobs: int = field(
        default=4,
        metadata={
            "help": "Requests in flight per process that ask a server for a prompt's log-probabilities: vLLM needs "
            "memory for the whole vocabulary at each token of the prompt"
        },
    )

    def __post_init__(self) -> None:
        check_above_zero(self, "max_concurrency", "timeout_s", "max_attempts", "max_prompt_logprobs")
        check_zero_or_above(self, "retry_wait_s")
        if self.judge_transport == "direct" and self.llm_judge_model and not self.hosted:
            raise UsageError(
                f"--judge_transport direct works for {HOSTED_VLLM} models only, got {self.llm_judge_model}; "
                "leave it at litellm"
            )
        if self.in_process:
            self._check_in_process()

    def _check_in_process(self) -> None:
        if self.hosted or self.api_base:
            raise UsageError(
                "--judge_transport local asks no server: leave --api_base out, and give the model's folder as "
                f"--llm_judge_model, got {self.llm_judge_model}"
            )
        if self.cache_dir is not None:
            raise UsageError("--judge_transport local keeps no answers: leave --cache_dir out")

    @property
    def in_process(self) -> bool:
        """Whether the model runs in this process, and no server is asked."""
        return self.judge_transport == "local"

    @property
    def hosted(self) -> bool:
        """Whether the model is one of litellm's `hosted_vllm` provider."""
        return self.llm_judge_model.startswith(HOSTED_VLLM)

    def endpoints(self) -> tuple[str | None, ...]:
        """The URLs that requests go to; `(None,)` lets litellm's provider choose its own, or stands for no server.

        Raises:
            UsageError: No model; or a hosted_vllm model without a URL, whose requests, prompts included,
                litellm would send to a public host; or a URL without a scheme.
        """
        if self.judge_transport == "none":
            return (None,)
        if not self.llm_judge_model:
            raise UsageError("no judge model given: set --llm_judge_model, for example hosted_vllm/Qwen/Qwen3-4B")
        if self.llm_judge_model == HOSTED_VLLM:
            raise UsageError(f"--llm_judge_model {HOSTED_VLLM} lacks the served name, for example Qwen/Qwen3-4B")
        given = self.api_base or (os.environ.get("HOSTED_VLLM_API_BASE") if self.hosted else None) or ""
        urls = tuple(url.strip().rstrip("/") for url in given.split(",") if url.strip())
        if self.hosted and not urls:
            raise UsageError(
                f"{self.llm_judge_model} needs the URL of its server: give --api_base http://HOST:PORT/v1 or set "
                "HOSTED_VLLM_API_BASE (start one with `flip serve judge MODEL`)"
            )
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise UsageError(
                    f"--api_base {shown_url(url)!r} has no http:// or https://; it looks like http://HOST:PORT/v1"
                )
            if has_credentials(url) and self.api_key_env is not None:
                raise UsageError(f"--api_base {shown_url(url)} holds a password: give that or --api_key_env, not both")
        return urls or (None,)

    def api_key(self) -> str | None:
        """The key, read from the environment at each use so that it never stands in a config, a log or a pickle.

        None leaves it to litellm, which knows the variables of its providers.

        Raises:
            UsageError: `api_key_env` names a variable that is not set.
        """
        if self.api_key_env is None:
            return os.environ.get("HOSTED_VLLM_API_KEY") if self.hosted else None
        if self.api_key_env not in os.environ:
            raise UsageError(f"--api_key_env names {self.api_key_env}, which is not set")
        return os.environ[self.api_key_env]


NEVER_ASKED = ClientConfig(llm_judge_model=f"{HOSTED_VLLM}judge", api_base="http://127.0.0.1:9/v1")
"""Of judges that send nothing: they make prompts, read replies, or are asked whether they need a model at all."""
