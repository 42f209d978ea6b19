"""What `register()` does to Open Instruct, on its double."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest

LABELS = {"general-flip", "general-pointwise"}


def streaming_config(open_instruct, **values):
    from open_instruct import data_loader

    return data_loader.StreamingDataLoaderConfig(
        **{"llm_judge_model": "hosted_vllm/judge", "flip_api_base": "http://127.0.0.1:1/v1"} | values
    )


def build(open_instruct, **values):
    config = streaming_config(open_instruct, **values)
    return open_instruct.ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=7), config)


def test_judges_become_verifiers_of_their_own_class(open_instruct):
    from open_instruct_flip.integrations.open_instruct.verifier import JudgeVerifier

    verifiers = build(open_instruct)
    assert verifiers.keys() >= LABELS
    for label in LABELS:
        assert type(verifiers[label]) is JudgeVerifier
        assert verifiers[label].name == label
    assert issubclass(JudgeVerifier, open_instruct.ground_truth_utils.LMJudgeVerifier)
    # Open Instruct instantiates every direct subclass of VerifierFunction on its own.
    assert JudgeVerifier not in open_instruct.ground_truth_utils.VerifierFunction.__subclasses__()


def test_open_instructs_own_verifiers_stay_as_they_were(open_instruct):
    verifiers = build(open_instruct)
    quality = verifiers["general-quality"]
    assert type(quality) is open_instruct.ground_truth_utils.LMJudgeVerifier
    assert asyncio.run(quality.async_call([], "text", "label", "user: hi")).score == 0.7
    assert verifiers["string_matcher"]([], "a", "a").score == 1.0


def test_prompt_and_extractor_maps_hold_flip(open_instruct):
    from open_instruct import judge_utils

    assert "flip" in judge_utils.JUDGE_PROMPT_MAP
    assert callable(judge_utils.EXTRACTOR_MAP["flip"])
    assert judge_utils.EXTRACTOR_MAP["quality"]("x") == ("x", 0.7)


def test_a_judge_of_our_name_that_open_instruct_has_already_gives_way_and_the_log_says_so():
    # As in the FLIP authors' fork, whose own gives 0.0 for a failed judge.
    code = (
        "import logging; logging.basicConfig()\n"
        "from types import SimpleNamespace\n"
        "from open_instruct import data_loader, ground_truth_utils, judge_utils\n"
        "judge_utils.JUDGE_PROMPT_MAP['flip'] = 'Infer {output}'\n"
        "judge_utils.EXTRACTOR_MAP['flip'] = lambda text: (text, 0.0)\n"
        "import open_instruct_flip; open_instruct_flip.register(); open_instruct_flip.register()\n"
        "config = data_loader.StreamingDataLoaderConfig(llm_judge_model='hosted_vllm/judge')\n"
        "verifiers = ground_truth_utils.build_all_verifiers(SimpleNamespace(seed=7), config)\n"
        "assert type(verifiers['general-flip']).__name__ == 'JudgeVerifier', verifiers\n"
    )
    (line,) = run_with_double(code).stderr.splitlines()
    assert "'flip'" in line
    assert "takes its place" in line


def test_registering_again_changes_nothing(open_instruct):
    from open_instruct import data_loader, judge_utils

    from open_instruct_flip import register

    parts = (
        open_instruct.ground_truth_utils.build_all_verifiers,
        open_instruct.ground_truth_utils.RewardConfig,
        data_loader.StreamingDataLoaderConfig,
        dict(judge_utils.JUDGE_PROMPT_MAP),
    )
    register()
    assert parts == (
        open_instruct.ground_truth_utils.build_all_verifiers,
        open_instruct.ground_truth_utils.RewardConfig,
        data_loader.StreamingDataLoaderConfig,
        dict(judge_utils.JUDGE_PROMPT_MAP),
    )


def test_remap_reaches_flip_under_the_new_key(open_instruct):
    verifiers = build(open_instruct, remap_verifier="wildchat=general-flip")
    assert verifiers["wildchat"] is verifiers["general-flip"]
    assert verifiers["wildchat"].name == "general-flip"


def test_modules_that_hold_the_originals_already_get_the_replacements():
    # A trainer that was imported first has taken the names out of their modules.
    code = (
        "from open_instruct import grpo_fast, ground_truth_utils\n"
        "import open_instruct_flip; open_instruct_flip.register()\n"
        "assert grpo_fast.build_all_verifiers is ground_truth_utils.build_all_verifiers\n"
        "assert grpo_fast.RewardConfig is ground_truth_utils.RewardConfig\n"
        "assert grpo_fast.RewardConfig.__module__.startswith('open_instruct_flip')\n"
    )
    run_with_double(code)


def test_configuration_and_verifiers_pickle_into_a_process_where_nothing_is_patched(open_instruct, tmp_path):
    config = open_instruct.ground_truth_utils.RewardConfig(verifier_functions=build(open_instruct))
    (tmp_path / "config.pkl").write_bytes(pickle.dumps((config, streaming_config(open_instruct))))
    code = (
        "import pickle, sys\n"
        f"config, streaming = pickle.load(open({str(tmp_path / 'config.pkl')!r}, 'rb'))\n"
        "assert callable(config.build())\n"
        "assert config.verifier_functions['general-flip'].options.judge_options['seed'] == 7\n"
        "from open_instruct import ground_truth_utils\n"
        "assert ground_truth_utils.RewardConfig.__module__ == 'open_instruct.ground_truth_utils'\n"
    )
    run_with_double(code)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"llm_judge_temperature": 0.3}, ("config", "temperature", 0.3)),
        ({"llm_judge_max_tokens": 99}, ("config", "max_tokens", 99)),
        ({"llm_judge_timeout": 5}, ("client", "timeout_s", 5)),
        ({"llm_judge_model": "hosted_vllm/other"}, ("client", "llm_judge_model", "hosted_vllm/other")),
        ({"flip_max_concurrency": 3}, ("client", "max_concurrency", 3)),
        ({"flip_similarity": "recall"}, ("config", "similarity", "recall")),
        ({"flip_copy_guard": "mask"}, ("config", "copy_guard", "mask")),
    ],
)
def test_flags_reach_the_verifier(open_instruct, flags, expected):
    part, field, value = expected
    verifier = build(open_instruct, **flags)["general-flip"]
    holder = verifier.judge.config if part == "config" else getattr(verifier.options, part)
    assert getattr(holder, field) == value


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"flip_failure_window": 0}, "--flip_failure_window"),
        ({"flip_max_failure_rate": 1.5}, "--flip_max_failure_rate"),
        ({"flip_num_samples": 4, "llm_judge_temperature": 0.0}, "num_samples"),
    ],
)
def test_impossible_flags_are_refused_where_they_are_parsed(open_instruct, flags, words):
    from open_instruct_flip.errors import UsageError

    with pytest.raises(UsageError, match=words):
        streaming_config(open_instruct, **flags)


def run_with_double(code: str) -> subprocess.CompletedProcess[str]:
    from upstream_double import DOUBLE

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(DOUBLE)!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done
