"""What can be wrong before any work starts: each thing looked at, with what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, Literal

from open_instruct_flip.client.background import run_sync
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.probe import EndpointReport, probe
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import FlipError
from open_instruct_flip.failures.proof import Proof, prove
from open_instruct_flip.integrations.open_instruct.checkout import HOW_TO_GET_IT, WITHOUT_GPU, put_on_path
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.rewards import REPLY_FAILURES

State = Literal["ok", "warn", "fail"]

PACKAGES = ("open-instruct-flip", "litellm", "aiohttp", "torch", "transformers", "trl", "vllm", "wandb")
SPARE_FILES = 256
"""Open files that a process needs beside its judge connections: a trainer's data, logs and sockets."""
SLOW_ROUND_TRIP_S = 30.0
IMPORT_TIMEOUT_S = 180.0
TOOL_TIMEOUT_S = 30.0
WANDB_HOST = "api.wandb.ai"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` is empty where nothing needs doing."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def examine(
    client: ClientConfig, judge: str | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[Check]:
    """Look at everything that a run needs, one check after another; none of them stops the others.

    Args:
        client: How the judge model is reached.
        judge: Name of the judge that it is tried as; None takes flip, or likelihood for a model in this process.
        options: Options of that judge.
    """
    yield _versions()
    try:
        kind = judge_class(judge or (LikelihoodJudge if client.in_process else FlipJudge).name)
    except FlipError as error:
        yield Check("judge", "fail", str(error), "correct --judge")
    else:
        yield from _judge(client, kind, options)
    yield _open_files(client.max_concurrency)
    yield _gpu()
    yield _open_instruct()
    yield _wandb()


def _versions() -> Check:
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        if (version := _version(package)) is not None:
            versions.append(f"{package} {version}")
    return Check("versions", "ok", ", ".join(versions))


def _judge(client: ClientConfig, kind: type[Judge], options: Mapping[str, Any]) -> Iterator[Check]:
    """The endpoints, and ten judgements through those that work."""
    if not client.llm_judge_model:
        yield Check("judge", "warn", "no judge given", "pass --llm_judge_model and --api_base to have it tried")
        return
    try:
        reports = run_sync(probe(client))
    except FlipError as error:
        yield Check("judge", "fail", str(error), "correct the option it names")
        return
    yield from map(_endpoint, reports)
    if not reports or any(report.state == "ready" for report in reports):
        yield run_sync(_judgements(client, kind, options))


def _endpoint(report: EndpointReport) -> Check:
    if report.state != "ready":
        found, _, remedy = report.problem.rpartition("; ")
        return Check("endpoint", "fail", found or report.problem, remedy if found else "see the server's log")
    served = "models not listed" if report.model_names is None else f"serves {', '.join(report.model_names)}"
    return Check("endpoint", "ok", f"{report.url} {served} ({1000 * report.latency_s:.0f} ms)")


async def _judgements(client: ClientConfig, kind: type[Judge], options: Mapping[str, Any]) -> Check:
    try:
        judge = await kind.from_options(options, client).settled()
        proof = await prove(judge)
    except FlipError as error:
        return Check("judgements", "fail", str(error), "correct the option it names")
    except RequestFailed as error:
        return Check("judgements", "fail", f"{error.kind}: {error.detail}", "see the judge server's log")
    contract = judge.options().get("reply_contract")
    return _judged(proof, f"{kind.name}: ", f", contract {contract}" if contract is not None else "")


def _judged(proof: Proof, name: str, contract: str) -> Check:
    if proof.problem is not None:
        found, _, remedy = proof.problem.rpartition("; ")
        if proof.own[0].error not in (None, *REPLY_FAILURES):
            found, remedy = proof.problem, "see the judge server's log"
        return Check("judgements", "fail", f"{name}{found}", remedy)
    own, stray = proof.means
    latency_s = fmean(reward.latency_s for reward in proof.own)
    found = (
        f"{name}{proof.readable} of {len(proof.own)} built-in responses readable, mean reward {own:.2f}, {stray:.2f} "
        f"with their instructions exchanged; {latency_s:.2f} s each{contract}"
    )
    if latency_s > SLOW_ROUND_TRIP_S:
        remedy = "a judge this slow holds up training: smaller model, or more servers"
        return Check("judgements", "warn", found, remedy)
    return Check("judgements", "ok", found)


def _open_files(max_concurrency: int) -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{'no limit' if limit == resource.RLIM_INFINITY else limit} for {max_concurrency} requests in flight"
    if limit == resource.RLIM_INFINITY or limit >= max_concurrency + SPARE_FILES:
        return Check("open files", "ok", found)
    state: State = "fail" if limit <= max_concurrency else "warn"
    return Check("open files", state, found, f"ulimit -n {max_concurrency + 4096}, or a lower --max_concurrency")


def _gpu() -> Check:
    if (tool := shutil.which("nvidia-smi")) is None:
        return Check("GPU", "warn", "none seen (no nvidia-smi)", f"needed by Open Instruct only; {WITHOUT_GPU}")
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("GPU", "fail", f"nvidia-smi failed: {_last_line(str(error))}", "see the driver")
    names = "; ".join(answer.stdout.split("\n")).strip("; ")
    if answer.returncode or not names:
        return Check("GPU", "fail", f"nvidia-smi failed: {_last_line(answer.stderr + answer.stdout)}", "see the driver")
    return Check("GPU", "ok", names)


def _open_instruct() -> Check:
    folder = os.environ.get("OPEN_INSTRUCT_DIR")
    try:
        put_on_path(folder)
    except FlipError as error:
        return Check("Open Instruct", "fail", str(error), "correct or unset OPEN_INSTRUCT_DIR")
    spec = importlib.util.find_spec("open_instruct")
    if spec is None or spec.origin is None:  # a folder that only happens to have this name has no origin
        return Check("Open Instruct", "warn", "not installed", f"only for training with it: {HOW_TO_GET_IT}")
    version = _checkout_version(Path(folder)) if folder else _version("open-instruct")
    # In a process of its own: it imports vLLM, takes many seconds, and may end the interpreter.
    command = [sys.executable, "-c", "import open_instruct.ground_truth_utils"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Check("Open Instruct", "warn", f"{version}: its import took over {IMPORT_TIMEOUT_S:g} s", "try again")
    if answer.returncode:
        remedy = "install it in this environment as its README says"
        return Check("Open Instruct", "fail", f"{version} does not import: {_last_line(answer.stderr)}", remedy)
    return Check("Open Instruct", "ok", f"{version} imports" + (f" from {folder}" if folder else ""))


def _wandb() -> Check:
    mode = os.environ.get("WANDB_MODE", "online")
    if importlib.util.find_spec("wandb") is None:
        return Check("W&B", "ok", "not installed; run folders hold the curves as well")
    if mode == "online" and not _logged_in_to_wandb():
        return Check("W&B", "warn", "online, but not logged in", "wandb login, or WANDB_MODE=offline")
    return Check("W&B", "ok", f"mode {mode}")


def _logged_in_to_wandb() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checkout_version(folder: Path) -> str:
    """What git calls a checkout's commit: `v0.3.0`, `v0.3.0-97-ge6c3044`, or a bare hash."""
    command = ["git", "-C", str(folder), "describe", "--tags", "--always"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "a version unknown"
    return answer.stdout.strip() or "a version unknown"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1][:200]
