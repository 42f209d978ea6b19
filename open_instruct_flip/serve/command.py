"""The command line and the environment of a judge server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from open_instruct_flip.hardware import cpu_features
from open_instruct_flip.serve.config import Backend, ServerConfig

# Without these limits `transformers serve` takes 14 GB for a model of a million parameters.
_SMALL_CACHE = ("--cb-block-size", "32", "--cb-num-blocks", "640", "--cb-max-batch-tokens", "2048")
# Under a JSON schema a weak model fills its reply with white space until max_tokens, where the grammar allows any.
_COMPACT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'


def server_command(backend: Backend, model: str, folder: Path | None, config: ServerConfig, port: int) -> list[str]:
    """The command that serves `model`, a hub name or the name of `folder`, under that name."""
    where = ["--host", config.host, "--port", str(port)]
    build = _vllm if backend == "vllm" else _transformers
    return [*build(model, folder, config), *where, *config.extra_arguments()]


def server_environment(folder: Path | None, config: ServerConfig) -> dict[str, str]:
    """This process's environment, with what the server has to know."""
    # On a CPU, vLLM takes nearly all memory for its cache, and refuses to start where other programs hold some of it.
    defaults = {"OMP_NUM_THREADS": "1"} | ({} if _has_cuda() else {"VLLM_CPU_KVCACHE_SPACE": "2"})
    environment = defaults | os.environ
    if folder is not None:
        environment |= {"HF_HUB_OFFLINE": "1"}
    if config.api_key_env:
        # Handed over in the environment: a command line can be read by every user of the machine.
        environment |= {"VLLM_API_KEY": os.environ[config.api_key_env]}
    return environment


def _vllm(model: str, folder: Path | None, config: ServerConfig) -> list[str]:
    # vLLM's CPU build lacks the distribution name that its `vllm` command asks for; the module always works.
    command = [config.vllm_python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder or model), "--served-model-name", model]
    command += ["--enable-prefix-caching", "--structured-outputs-config", _COMPACT_JSON]
    if config.data_parallel > 1:
        command += ["--data-parallel-size", str(config.data_parallel)]
    if config.max_model_len:
        command += ["--max-model-len", str(config.max_model_len)]
    return command + ([] if _has_cuda() or _cpu_knows_bfloat16() else ["--dtype", "float32"])


def _transformers(model: str, _: Path | None, config: ServerConfig) -> list[str]:
    # The name that requests must give equals this argument, so a folder is named from within its parent.
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    device = ("cpu" if not _has_cuda() else "auto") if config.device == "auto" else config.device
    command += ["--device", device, "--continuous-batching"]
    return command + (["--dtype", "float32", *_SMALL_CACHE] if device == "cpu" else [])


def _cpu_knows_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16, most models' type; where it does not, float32 is many times faster."""
    features = cpu_features()
    return features is None or not features.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def _has_cuda() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()
