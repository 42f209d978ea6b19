"""Queries, copied instructions and flags: the parts that need no Open Instruct."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.errors import MissingDependencyError, UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.integrations.open_instruct.options import (
    UPSTREAM_FLAGS,
    FlipFlags,
    FlipOptions,
    TrainingConfig,
    flag_name,
)
from open_instruct_flip.integrations.open_instruct.query import read_open_query, read_query
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.config import JudgeConfig
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import LikelihoodJudge
from open_instruct_flip.judges.pointwise import PointwiseJudge
from open_instruct_flip.judges.registry import judge_options
from open_instruct_flip.similarity.copying import copy_rate, mask_copies

ROLES = st.sampled_from(["system", "user", "assistant"])
TURNS = st.lists(st.tuples(ROLES, st.text()), max_size=4)
INSTRUCTION = "Write a short poem about the cold sea in winter"


def join(turns):
    return "\n".join(f"{role}: {content}" for role, content in turns)


@given(TURNS, st.text())
def test_any_conversation_comes_back_with_its_context_as_it_was(turns, instruction):
    known = read_query(join([*turns, ("user", instruction)]), instruction)
    assert known.context_matches
    assert known.conversation[-1] == {"role": "user", "content": instruction}
    context = join([(turn["role"], turn["content"]) for turn in known.conversation[:-1]])
    assert context == join(turns)


@given(TURNS)
def test_a_judges_prompt_shows_the_context_as_if_its_turns_were_known(turns):
    known = read_query(join([*turns, ("user", "x")]), "x")
    prompt = FlipJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1").prompt
    told_apart = [{"role": role, "content": content} for role, content in turns]
    assert prompt.conversation(known.conversation[:-1]) == prompt.conversation(told_apart)


@given(st.text(), st.text())
def test_a_query_that_does_not_end_with_the_instruction_is_not_used(query, instruction):
    if query.endswith(f"user: {instruction}"):
        return
    known = read_query(query, instruction)
    assert known == ([{"role": "user", "content": instruction}], False)


@given(st.text(), TURNS.map(lambda turns: [("user", "first"), *turns]))
def test_a_system_prompt_is_cut_off_the_start(system, turns):
    known = read_query(join([("system", system), *turns]), system, "system")
    assert known.context_matches
    assert known.conversation[0] == {"role": "system", "content": system}
    assert join([(turn["role"], turn["content"]) for turn in known.conversation[1:]]) == join(turns)
    assert known.conversation[-1]["role"] == "user"


@pytest.mark.parametrize(
    ("query", "truth", "conversation"),
    [
        ("user: q", "q", [("user", "q")]),
        ("system: s\nuser: q", "q", [("system", "s"), ("user", "q")]),
        ("user: q", "reference", [("user", "q")]),
        ("system: s\nuser: q", "reference", [("user", "system: s\nuser: q")]),
        (None, "q", [("user", "q")]),
    ],
)
def test_judges_that_see_the_instruction_may_have_another_ground_truth(query, truth, conversation):
    known = read_open_query(query, truth)
    assert [(turn["role"], turn["content"]) for turn in known.conversation] == conversation


@pytest.mark.parametrize(
    ("response", "rate"),
    [
        (INSTRUCTION, 1.0),
        (f"You want: {INSTRUCTION.upper()}!!", 1.0),
        ("write a SHORT poem, about the weather", 2 / 6),
        ("a short poem about the cold sea in winter", 5 / 6),
        ("write a short poem", 0.0),
        ("poem short a write", 0.0),
        ("", 0.0),
    ],
)
def test_copy_rate(response, rate):
    assert copy_rate(response, INSTRUCTION) == pytest.approx(rate)


def test_short_instructions_have_nothing_to_copy():
    assert copy_rate("say hi to me", "say hi to me") == 0.0


@pytest.mark.parametrize(
    ("response", "masked"),
    [
        (f"Task: {INSTRUCTION}. Waves.", "Task: . Waves."),
        ("A short poem about the cold sea in winter: waves", ": waves"),
        ("write a short poem", "write a short poem"),
        # Two runs of the instruction with own words between them; a run keeps its longest extent.
        ("write a short poem about Norway and about the cold sea in winter", " Norway and "),
        ("", ""),
    ],
)
def test_mask_takes_out_runs_of_five_words_and_more(response, masked):
    assert mask_copies(response, INSTRUCTION) == masked


@given(st.text(), st.text())
def test_masking_leaves_nothing_copied_and_own_text_untouched(response, instruction):
    masked = mask_copies(response, instruction)
    if copy_rate(response, instruction) == 0.0:
        assert masked == response
    assert len(masked) <= len(response)


def test_every_option_is_one_flag_with_its_default_and_a_help_text():
    flags = {f.name: f for f in dataclasses.fields(FlipFlags)}
    for option in judge_options():
        if option.name not in UPSTREAM_FLAGS:
            flag = flags.pop(flag_name(option.name))
            assert (flag.default, flag.metadata["help"]) == (None, option.help)
    for config in (ClientConfig, FailureConfig, TrainingConfig):
        for option in dataclasses.fields(config):
            if option.name in UPSTREAM_FLAGS:
                assert UPSTREAM_FLAGS[option.name] not in flags
                continue
            flag = flags.pop(flag_name(option.name))
            assert flag.name.startswith("flip_")
            assert flag.default == option.default
            assert flag.metadata["help"]
    assert not flags


def test_options_come_back_from_their_flags():
    given_flags = FlipFlags(flip_similarity="bleu", flip_max_attempts=9, flip_copy_guard="penalize")
    options = FlipOptions.from_flags(None, given_flags)
    assert options.judge_options == {"similarity": "bleu", "copy_guard": "penalize"}
    assert options.judge_config(FlipJudge).similarity == "bleu"
    assert options.client.max_attempts == 9
    assert options.failures == FailureConfig()
    assert options.judge_config(PointwiseJudge) == PointwiseJudge.config_class(copy_guard="penalize")


def test_a_measure_that_is_not_installed_is_the_flip_judges_concern_only(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    model = SimpleNamespace(llm_judge_model="hosted_vllm/judge")
    given_flags = FlipFlags(flip_similarity="chrf", flip_api_base="http://127.0.0.1:9/v1")
    options = FlipOptions.from_flags(model, given_flags)
    LikelihoodJudge.from_config(options.judge_config(LikelihoodJudge), options.client)
    with pytest.raises(MissingDependencyError, match="pip install sacrebleu"):
        FlipJudge.from_config(options.judge_config(FlipJudge), options.client)


@dataclasses.dataclass(frozen=True)
class DiceConfig(JudgeConfig):
    """Options of another package's judge."""

    sides: int = dataclasses.field(kw_only=True, metadata={"help": "Sides of the die"})


class DiceJudge(Judge):
    """Another package's judge, which can't do without its option."""

    name = "dice"
    config_class = DiceConfig

    async def score_group(self, conversation, responses):
        raise NotImplementedError


def test_what_another_packages_judge_needs_is_asked_for_only_where_it_is_used(monkeypatch):
    point = EntryPoint("dice", f"{__name__}:DiceJudge", "open_instruct_flip.judges")
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(DiceJudge=DiceJudge))
    monkeypatch.setattr(
        "open_instruct_flip.plugins.entry_points",
        lambda group, name=None: [point] if name in (None, "dice") else [],
    )
    assert {option.name: option.help for option in judge_options()}["sides"] == "Sides of the die [dice]"
    options = FlipOptions.from_flags(FlipFlags())
    with pytest.raises(UsageError, match="the dice judge needs --sides"):
        options.judge_config(DiceJudge)
