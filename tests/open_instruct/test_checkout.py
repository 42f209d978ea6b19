"""The facts about Open Instruct that the plugin builds on, on a real checkout."""

from __future__ import annotations

import json
import pickle
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
INSTRUCTION = "Name the three largest lakes of Sweden, please"


@pytest.fixture
def judge_url():
    """A judge that infers the right instruction from a response that holds "good", and a wrong one from others."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            good = "good" in body["messages"][-1]["content"]
            text = json.dumps({"reasoning": "so", "instruction": INSTRUCTION if good else "bake a cake"})
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
            data = json.dumps(answer | {"usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def streaming_config(**values):
    from open_instruct.data_loader import StreamingDataLoaderConfig

    return StreamingDataLoaderConfig(
        **{"llm_judge_model": "hosted_vllm/judge", "flip_api_base": "http://x/v1"} | values
    )


def build(registered, **values):
    return registered.build_all_verifiers(SimpleNamespace(seed=1), streaming_config(**values))


def reward_config(registered, url, **fields):
    return registered.RewardConfig(verifier_functions=build(registered, flip_api_base=url), **fields)


def arguments(responses):
    """What an engine calls the reward function with."""
    k = len(responses)
    empty = {name: [None] * k for name in ("timeouts", "tool_errors", "tool_outputs", "tool_calleds")}
    infos = SimpleNamespace(**empty | {"tool_outputs": [""] * k}, rollout_states=[{}] * k)
    labels = [["general-flip"]] * k
    return [[1]] * k, responses, [[INSTRUCTION]] * k, labels, ["stop"] * k, infos, [f"user: {INSTRUCTION}"] * k


def test_verifiers_are_ours_under_our_labels_only(registered):
    from open_instruct_flip.integrations.open_instruct.verifier import JudgeVerifier

    verifiers = build(registered)
    ours = {name for name, verifier in verifiers.items() if isinstance(verifier, JudgeVerifier)}
    assert ours >= {"general-flip", "general-pointwise", "general-pairwise", "general-listwise"}
    assert type(verifiers["general-quality"]) is registered.LMJudgeVerifier
    assert all(verifiers[name].name == name for name in ours)


def test_trainer_takes_our_names(registered, grpo_fast):
    assert grpo_fast.build_all_verifiers is registered.build_all_verifiers
    assert grpo_fast.RewardConfig is registered.RewardConfig


def test_remap(registered):
    verifiers = build(registered, remap_verifier="wildchat=general-flip")
    assert verifiers["wildchat"] is verifiers["general-flip"]


async def test_group_rewards(registered, judge_url):
    config = pickle.loads(pickle.dumps(reward_config(registered, judge_url)))
    scores, metrics = await config.build()(*arguments(["good", "bad", "good"]))
    assert scores == [10.0, 0.0, 10.0]
    assert metrics["objective/general-flip_reward"] == pytest.approx(20 / 3)
    assert metrics["objective/general-flip_correct_rate"] == pytest.approx(2 / 3)
    assert metrics["flip/f1_mean"] == pytest.approx(2 / 3)


async def test_format_reward_and_penalty_stay_open_instructs(registered, judge_url):
    fields = {"apply_r1_style_format_reward": True, "additive_format_reward": True, "non_stop_penalty": True}
    config = reward_config(registered, judge_url, verification_reward=1.0, non_stop_penalty_value=-3.0, **fields)
    call = list(arguments(["<think>x</think><answer>good</answer>", "good", "good"]))
    call[4] = ["stop", "stop", "length"]
    scores, _ = await config.build()(*call)
    assert scores == [2.0, 1.0, -3.0]


def test_metrics_of_groups_are_combined(registered):
    import numpy as np

    from open_instruct_flip.integrations.open_instruct.samples import Samples

    combine = pytest.importorskip("open_instruct.utils").combine_reward_metrics
    samples = [Samples((("first",),)), Samples((("second",),))]
    combined = combine(
        [
            {"flip/f1_mean": 0.25, "flip/f1_hist": np.array([0.0, 0.5]), "flip/samples": samples[0]},
            {"flip/f1_mean": 0.75, "flip/f1_hist": np.array([1.0]), "flip/samples": samples[1]},
            {},
        ]
    )
    assert combined == {"flip/f1_mean": 0.5, "flip/f1_hist": [0.0, 0.5, 1.0], "flip/samples": samples[1]}


def test_reward_function_scores_in_a_ray_actor(registered, judge_url):
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:

        @ray.remote
        class Engine:
            def __init__(self, config):
                self.reward_fn = config.build()

            async def compute(self, call):
                return await self.reward_fn(*call)

        config = reward_config(registered, judge_url, verification_reward=1.0)
        engine = Engine.remote(config)
        scores, metrics = ray.get(engine.compute.remote(arguments(["good", "bad", "good", "good"])), timeout=120)
    finally:
        ray.shutdown()
    assert scores == [1.0, 0.0, 1.0, 1.0]
    assert metrics["flip/duplicate_rate"] == 0.5


def test_open_instructs_own_tests_pass_with_the_plugin(checkout):
    code = (
        "import sys, open_instruct_flip, pytest; open_instruct_flip.register(); "
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    )
    tests = checkout / "open_instruct" / "test_ground_truth_utils.py"
    done = subprocess.run([sys.executable, "-c", code, str(tests)], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("script", ["grpo_flip.sh", "grpo_llmjudge.sh"])
@pytest.mark.parametrize("profile", ["paper", "single_gpu"])
def test_scripts_use_flags_that_exist(grpo_fast, script, profile):
    from open_instruct import data_loader, grpo_utils
    from open_instruct.utils import ArgumentParserPlus

    command = ["bash", str(ROOT / "scripts/train" / script), "--profile", profile, "--dry_run"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = shlex.split(printed)
    flags = words[words.index("train") + 1 :]
    kinds = (
        *(grpo_utils.GRPOExperimentConfig, grpo_fast.TokenizerConfig, grpo_fast.ModelConfig),
        *(data_loader.StreamingDataLoaderConfig, data_loader.VLLMConfig, grpo_fast.EnvsConfig),
    )
    parser = ArgumentParserPlus(kinds, allow_abbrev=False)
    values, unknown = parser.parse_known_args(flags)
    assert unknown == []
    assert values.llm_judge_model == "hosted_vllm/Qwen/Qwen3-4B"
    assert values.flip_api_base


@pytest.mark.parametrize(("template", "opens"), [("olmo_thinker", True), ("tulu_thinker", True), ("tulu", False)])
def test_templates_that_open_the_thinking_are_told_from_those_that_do_not(registered, template, opens):
    from open_instruct_flip.integrations.open_instruct.policy import policy_opens_thinking

    policy = str(ROOT / "open_instruct_flip/local/models/policy")
    assert (
        policy_opens_thinking(["--model_name_or_path", policy, "--chat_template_name", template, "--seed", "3"])
        is opens
    )


async def test_thinking_that_the_template_opened_and_nobody_closed_is_no_answer(registered, judge_url):
    values = {"flip_api_base": judge_url, "flip_policy_opens_thinking": "yes"}
    config = registered.RewardConfig(verifier_functions=build(registered, **values), verification_reward=1.0)
    scores, _ = await config.build()(*arguments(["Okay, the user wants good lakes", "I see</think>good"]))
    assert scores == [0.0, 1.0]


def test_options_of_judges_are_parsed_into_their_types(registered):
    from open_instruct.data_loader import StreamingDataLoaderConfig
    from open_instruct.utils import ArgumentParserPlus

    flags = "--flip_num_samples 3 --flip_reasoning False --flip_similarity recall --flip_judge_proven True"
    parser = ArgumentParserPlus((StreamingDataLoaderConfig,), allow_abbrev=False)
    config, rest = parser.parse_args_into_dataclasses(
        args=flags.split(), return_remaining_strings=True, look_for_args_file=False
    )
    assert rest == []
    parsed = (config.flip_num_samples, config.flip_reasoning, config.flip_similarity, config.flip_judge_proven)
    assert parsed == (3, False, "recall", True)


def test_help_shows_both_kinds_of_flags(grpo_fast):
    command = [sys.executable, "-m", "open_instruct_flip", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    for flag in ("--flip_on_failure", "--flip_api_base", "--num_unique_prompts_rollout", "--deepspeed_stage"):
        assert flag in done.stdout
