"""What a judge server is started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from open_instruct_flip.hardware import cpu_features
from open_instruct_flip.serve import command
from open_instruct_flip.serve.config import ServerConfig


@pytest.mark.parametrize(
    ("flags", "known"),
    [("flags : fpu avx2 fma", False), ("flags : avx512f avx512_bf16", True), ("Features : fp asimd bf16", True)],
)
def test_a_cpu_without_bfloat16_is_served_in_float32(
    flags: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name : some\n{flags}\n")
    monkeypatch.setattr(command, "_has_cuda", lambda: False)
    monkeypatch.setattr(command, "cpu_features", lambda: cpu_features(cpuinfo))
    config = ServerConfig()
    line = command.server_command("vllm", "judge", None, config, 8001)
    assert ("--dtype" in line) == (not known)


def test_a_gpu_keeps_the_models_own_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_has_cuda", lambda: True)
    monkeypatch.setattr(command, "_cpu_knows_bfloat16", lambda: False)
    assert "--dtype" not in command.server_command("vllm", "judge", None, ServerConfig(), 8001)


@pytest.mark.parametrize(("given", "space"), [(None, "2"), ("8", "8")])
def test_vllm_on_a_cpu_leaves_memory_to_others_unless_told(
    given: str | None, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_has_cuda", lambda: False)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    if given is not None:
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", given)
    assert command.server_environment(None, ServerConfig())["VLLM_CPU_KVCACHE_SPACE"] == space
