"""The local judge on a real vLLM server, for the benchmarks that need one."""

from __future__ import annotations

from open_instruct_flip.local.models import model_path
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer

LOCAL_JUDGE = model_path("judge")
# Without CUDA graphs it starts in half a minute on a CPU. The grammar of `flip serve judge` allows no white space in
# JSON, and this judge knows JSON with spaces only.
_ARGUMENTS = """--enforce-eager --structured-outputs-config '{"backend": "xgrammar"}'"""


def vllm_judge(vllm_python: str | None) -> JudgeServer:
    """A server, to be entered as a context; `vllm_python` is the Python of the environment that holds vLLM."""
    config = ServerConfig(port=0, backend="vllm", vllm_python=vllm_python, extra_args=_ARGUMENTS)
    return JudgeServer(LOCAL_JUDGE, config)
