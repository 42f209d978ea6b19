"""One real step of TRL's GRPOTrainer: how it names, awaits and logs the rewards, and what it makes of thinking."""

import copy
import pickle

import pytest
import tiny_grpo
from judge_double import JudgeDouble
from transformers import AddedToken
from trl import RLOOTrainer

from open_instruct_flip import FlipJudge
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.integrations.trl.rollouts import RolloutReader

MODEL = "hosted_vllm/judge"


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    """A step against two judges of one type, the second without an answer; and the trainer after it."""
    with JudgeDouble() as server, JudgeDouble("no instruction") as mute:
        rewards = [
            flip_reward(FlipJudge(MODEL, server.api_base)),
            flip_reward(FlipJudge(MODEL, mute.api_base), name="second"),
        ]
        trainer = tiny_grpo.trainer(rewards, tmp_path_factory.mktemp("step"), reward_weights=[1.0, 0.0])
        trainer.train()
        yield trainer


def test_each_judge_has_columns_of_its_own_under_its_name(step):
    trainer = step
    logged = tiny_grpo.logged(trainer)
    assert logged["rewards/flip/mean"] > 0
    assert "rewards/second/mean" in logged
    assert (logged["flip/failure_rate"], logged["second/failure_rate"]) == (0.0, 1.0)
    assert (logged["second/parse_failure_rate"], logged["second/request_failure_rate"]) == (1.0, 0.0)
    assert len(trainer._logs["extra"]["flip/inferred_instruction"]) == 8


def test_rloo_takes_the_same_reward_function(judge_double, tmp_path):
    reward = flip_reward(FlipJudge(MODEL, judge_double().api_base), processing_class=tiny_grpo.tokenizer())
    trainer = tiny_grpo.trainer([reward], tmp_path, kind=RLOOTrainer)
    trainer.train()
    assert tiny_grpo.logged(trainer)["rewards/flip/mean"] > 0
    assert tiny_grpo.logged(trainer)["flip/failure_rate"] == 0.0


@pytest.fixture(scope="module")
def opening():
    """A tokenizer whose chat template ends the prompt inside a thinking section, unless told otherwise."""
    made = tiny_grpo.tokenizer()
    start = "{{ '<|assistant|>' }}{% if thinking is not defined or thinking %}{{ '<think>' }}{% endif %}"
    made.chat_template = made.chat_template.replace("{{ '<|assistant|>' }}", start)
    return made


@pytest.mark.parametrize(("options", "judged"), [({}, False), ({"thinking": False}, True)])
def test_thinking_that_the_template_opened_and_nobody_closed_gets_nothing(
    options, judged, opening, judge_double, tmp_path
):
    server = judge_double()
    reward = flip_reward(FlipJudge(MODEL, server.api_base), processing_class=opening, chat_template_kwargs=options)
    trainer = tiny_grpo.trainer([reward], tmp_path, opening, chat_template_kwargs=options)
    trainer.train()
    assert (tiny_grpo.logged(trainer)["rewards/flip/mean"] > 0) == judged
    assert (server.num_requests > 0) == judged


TAGS = {"additional_special_tokens": ["<think>", "</think>"]}


@pytest.mark.parametrize(
    ("written", "content", "answer"),
    [
        ("They ask for a use.</think>Pots.<|end|>", "They ask for a use.</think>Pots.", "Pots."),
        ("They ask for a use", "They ask for a use", ""),
        ("</think>Pots.<|end|>", "Pots.", "Pots."),  # parsed by TRL, as with a response template
        ("They ask.</think><|end|>", "", ""),
    ],
)
@pytest.mark.parametrize("special", [False, True])
def test_thinking_is_found_in_the_tokens_whatever_trl_made_of_them(opening, written, content, answer, special):
    tokenizer = copy.deepcopy(opening)
    if special:  # TRL decodes without special tokens, and so loses these tags
        tokenizer.add_special_tokens(TAGS)
        content = content.replace("</think>", "")
    prompt, completion = [{"role": "user", "content": "What is clay for?"}], [{"role": "assistant", "content": content}]
    token_ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert RolloutReader(tokenizer).read(prompt, completion, token_ids).response == answer


@pytest.mark.parametrize(
    ("last", "answer"),
    [("Sunny.", "Sunny."), ("<think>It says sunny.</think>Sunny.", "Sunny."), ("<think>It says sunny, so", "")],
)
@pytest.mark.parametrize("special", [False, True])
def test_of_several_turns_the_last_one_is_the_response(last, answer, special):
    tokenizer = tiny_grpo.tokenizer()
    if special:
        tokenizer.add_special_tokens(TAGS)
    start = RolloutReader(tokenizer)._turn_start([{"role": "user", "content": "Is it sunny?"}])
    written = f"<think>I ask.</think>weather()<|end|>\nIt is sunny.<|end|>\n{start}{last}<|end|>"
    shown = last.replace("<think>", "").replace("</think>", "") if special else last
    completion = [
        {"role": "assistant", "content": "weather()"},
        {"role": "tool", "content": "It is sunny."},
        {"role": "assistant", "content": shown},
    ]
    token_ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    prompt = [{"role": "user", "content": "Is it sunny?"}]
    assert RolloutReader(tokenizer).read(prompt, completion, token_ids).response == answer


@pytest.mark.parametrize("thinks", [False, True])
def test_a_turn_that_ends_in_a_call_of_a_tool_is_no_answer(thinks):
    tokenizer = tiny_grpo.tokenizer()
    call = '<tool_call>{"name": "search", "arguments": {"q": "Is it sunny?"}}</tool_call><|end|>'
    token_ids = tokenizer(("<think>I ask.</think>" if thinks else "") + call, add_special_tokens=False)["input_ids"]
    completion = [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "search"}}]}]
    prompt = [{"role": "user", "content": "Is it sunny?"}]
    assert RolloutReader(tokenizer).read(prompt, completion, token_ids).response == ""


def test_a_special_token_without_a_role_is_no_answer(opening):
    tokenizer = copy.deepcopy(opening)
    tokenizer.add_tokens([AddedToken("<|eot_id|>", special=True)], special_tokens=True)
    assert "<|eot_id|>" not in tokenizer.all_special_tokens
    token_ids = tokenizer("They ask.</think><|eot_id|>", add_special_tokens=False)["input_ids"]
    prompt, completion = [{"role": "user", "content": "What is clay?"}], [{"role": "assistant", "content": ""}]
    assert RolloutReader(tokenizer).read(prompt, completion, token_ids).response == ""


def test_a_tokenizer_that_opens_nothing_leaves_the_response_as_it_is():
    tokenizer = tiny_grpo.tokenizer()
    prompt, text = [{"role": "user", "content": "What closes a section?"}], "The tag </think> does."
    token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    completion = [{"role": "assistant", "content": text}]
    assert RolloutReader(tokenizer).read(prompt, completion, token_ids).response == text


def test_it_pickles_with_its_tokenizer(opening):
    reward = flip_reward(FlipJudge(MODEL, "http://127.0.0.1:9/v1"), name="mine", processing_class=opening)
    assert pickle.loads(pickle.dumps(reward)).__name__ == "mine"
