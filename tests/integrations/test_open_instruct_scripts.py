"""The training scripts, as far as they go without a GPU."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLIP = "scripts/train/grpo_flip.sh"
BASELINE = "scripts/train/grpo_llmjudge.sh"
VARIABLES = ("WANDB_", "OPEN_INSTRUCT", "RAY_", "HOSTED_VLLM", "PYTHON")


def run(script, *arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(VARIABLES)}
    return subprocess.run(
        ["bash", str(ROOT / script), *arguments], env=clean | environment, capture_output=True, text=True, timeout=60
    )


def flags(script, *arguments, **environment):
    """The trainer's flags that a script ends up with: name -> values."""
    done = run(script, "--dry_run", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, list[str]] = {}
    words = shlex.split(done.stdout)
    for word in words[words.index("train") + 1 :]:
        if word.startswith("--"):
            parsed[word] = []
            name = word
        else:
            parsed[name].append(word)
    return parsed


def test_papers_recipe():
    recipe = flags(FLIP)
    expected = {
        "--model_name_or_path": ["allenai/Olmo-3-7B-Think-DPO"],
        "--llm_judge_model": ["hosted_vllm/Qwen/Qwen3-4B"],
        "--num_nodes": ["3"],
        "--num_learners_per_node": ["8"],
        "--vllm_num_engines": ["16"],
        "--num_unique_prompts_rollout": ["24"],
        "--num_samples_per_prompt_rollout": ["8"],
        "--learning_rate": ["1e-6"],
        "--beta": ["0.0"],
        "--clip_higher": ["0.272"],
        "--temperature": ["1.0"],
        "--response_length": ["16384"],
        "--max_prompt_token_length": ["2048"],
        "--pack_length": ["18432"],
        "--async_steps": ["1"],
        "--deepspeed_stage": ["3"],
        "--chat_template_name": ["olmo_thinker"],
        "--stop_strings": ["</answer>"],
        "--mask_truncated_completions": ["True"],
        "--save_freq": ["50"],
        "--llm_judge_max_tokens": ["2048"],
        "--use_rho_correction": ["True"],
        "--rho_clamp_upper_bound": ["2.0"],
        "--push_to_hub": ["False"],
        "--vllm_enable_prefix_caching": [],
    }
    assert {name: recipe.get(name) for name in expected} == expected
    assert not [name for name in recipe if name.startswith(("--oe_eval", "--try_", "--code_api", "--truncated_imp"))]


@pytest.mark.parametrize("profile", ["paper", "single_gpu"])
def test_baseline_differs_in_judge_and_name_only(profile):
    flip, baseline = flags(FLIP, "--profile", profile), flags(BASELINE, "--profile", profile)
    changed = {name for name in flip.keys() | baseline.keys() if flip.get(name) != baseline.get(name)}
    assert changed == {"--exp_name", "--remap_verifier", "--output_dir"}
    assert baseline["--remap_verifier"] == ["general-flip=general-pointwise"]
    assert flip["--wandb_group_name"] == baseline["--wandb_group_name"]


def test_variables_and_arguments_win():
    changed = flags(
        FLIP,
        *("--total_episodes", "64", "--flip_copy_guard", "mask"),
        POLICY="my/policy",
        JUDGE_URLS="http://a:1/v1,http://b:2/v1",
        NUM_NODES="2",
        DATASET="my data",
    )
    assert changed["--model_name_or_path"] == ["my/policy"]
    assert changed["--flip_api_base"] == ["http://a:1/v1,http://b:2/v1"]
    assert changed["--vllm_num_engines"] == ["8"]
    assert changed["--dataset_mixer_list"] == ["my data", "1.0"]
    assert changed["--total_episodes"] == ["64"]
    assert changed["--flip_copy_guard"] == ["mask"]


def test_wandb_is_offline_without_a_key(tmp_path):
    assert flags(FLIP, NETRC=str(tmp_path / "none"))["--wandb_entity"] == ["local"]
    assert "--wandb_entity" not in flags(FLIP, WANDB_API_KEY="k" * 40)
    assert flags(FLIP, WANDB_API_KEY="k" * 40, WANDB_ENTITY="team")["--wandb_entity"] == ["team"]


@pytest.mark.parametrize(("script", "judge"), [(FLIP, "flip"), (BASELINE, "pointwise")])
def test_local_profile_is_the_local_trainer(script, judge):
    done = run(script, "--profile", "local", "--dry_run", "--steps", "3")
    make, _, train = done.stdout.partition(" && ")
    assert shlex.split(make) == ["make", "-s", "-C", str(ROOT), ".venv/ready"]
    command = shlex.split(train)
    assert command[0] == str(ROOT / ".venv/bin/flip")
    assert command[1:] == ["local", "train", "--judge", judge, "--steps", "3"]


ECHO = """#!{python}
import json, os, sys
names = ("PYTHONPATH", "WANDB_MODE", "HOSTED_VLLM_API_BASE", "VLLM_ALLOW_INSECURE_SERIALIZATION")
print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in names]]))
"""


@pytest.mark.parametrize("profile", ["paper", "single_gpu"])
def test_a_dry_runs_line_pasted_into_a_bare_shell_runs_what_the_script_runs(profile, tmp_path):
    interpreter = tmp_path / "my python"
    interpreter.write_text(ECHO.format(python=sys.executable))
    interpreter.chmod(0o755)
    chosen = {
        "PYTHON": str(interpreter),
        "PYTHONPATH": "/other path",
        "NETRC": str(tmp_path / "none"),
        "JUDGE_URLS": "http://a:1/v1,http://b:2/v1",
    }
    ran = run(FLIP, "--profile", profile, "--exp_name", "my run", **chosen)
    line = run(FLIP, "--profile", profile, "--exp_name", "my run", "--dry_run", **chosen).stdout
    pasted = subprocess.run(["bash", "-c", line], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert json.loads(pasted.stdout) == json.loads(ran.stdout)
    _, (path, mode, url, insecure) = json.loads(ran.stdout)
    assert (path, mode, url) == (f"{ROOT}:/other path", "offline", "http://a:1/v1")
    assert insecure == ("1" if profile == "single_gpu" else None)


INHERITED = {"HOSTED_VLLM_API_BASE", "WANDB_API_KEY", "NETRC", "WANDB_MODE", "PROFILE"}
"""Variables that the recipe reads and does not own, and the profile, which has its option."""


@pytest.mark.parametrize("script", [FLIP, BASELINE])
def test_help_names_profiles_and_variables_and_needs_nothing(script):
    done = run(script, "--help", PATH="/usr/bin:/bin")
    assert done.returncode == 0
    assert done.stderr == ""
    listed = set(re.findall(r"^ +([A-Z_]+)=", done.stdout, flags=re.MULTILINE))
    text = (ROOT / "scripts/train/recipe.sh").read_text() + (ROOT / script).read_text()
    assert listed | INHERITED == set(re.findall(r"\$\{([A-Z_]+):?-", text)) | {"PROFILE"}
    for words in ("--profile single_gpu", "profile paper", "flip train --help", "NUM_NODES=3", "RUN_NAME=grpo_"):
        assert words in done.stdout


def test_unknown_profile():
    done = run(FLIP, "--profile", "tpu")
    assert done.returncode == 2
    assert "paper, single_gpu or local" in done.stderr


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="tells what a machine without a GPU is told")
@pytest.mark.parametrize("interpreter", [{}, {"PYTHON": sys.executable}])
def test_machine_without_gpu_is_told_of_the_local_profile(interpreter):
    done = run(FLIP, **interpreter)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "flip local train" in done.stderr
    assert "Open Instruct" in done.stderr
