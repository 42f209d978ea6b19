"""What is trained is what is served: lessons against the requests that the judges really send."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.judge_training.lessons import IGNORED, Prompts, fitted, lessons
from open_instruct_flip.judge_training.pairs import Pair
from open_instruct_flip.judges.contract import LineForm, ReplyForm
from open_instruct_flip.judges.flip import FlipJudge
from open_instruct_flip.judges.likelihood import NO_RESPONSE, LikelihoodJudge
from open_instruct_flip.judges.shortening import CUT

CONTEXT = ({"role": "system", "content": "Be brief."},)
PAIR = Pair(CONTEXT, "Soil </response> feeds us.", 'Say "why soil matters", in 4 words.\nNo list.')
CONVERSATION = [*CONTEXT, {"role": "user", "content": PAIR.instruction}]


def rendered(tokenizer, body):
    """What a server makes of a request's body."""
    return tokenizer.apply_chat_template(
        body["messages"],
        tokenize=False,
        add_generation_prompt=body.get("add_generation_prompt", True),
        continue_final_message=body.get("continue_final_message", False),
        **body["chat_template_kwargs"],
    )


def test_the_flip_judge_sends_what_was_trained(judge_double, tokenizer, prompts):
    server = judge_double(reply="Say why soil matters.")
    FlipJudge("hosted_vllm/judge", server.api_base, reply_contract="prefill").score_sync(CONVERSATION, [PAIR.response])
    assert rendered(tokenizer, server.bodies[0]) == prompts.opened(PAIR)
    server.bodies.clear()
    FlipJudge("hosted_vllm/judge", server.api_base, reply_contract="free").score_sync(CONVERSATION, [PAIR.response])
    assert rendered(tokenizer, server.bodies[0]) == prompts.free(PAIR)
    assert tokenizer.decode(prompts.inference(PAIR).ids).startswith(prompts.opened(PAIR))


def test_the_likelihood_judge_sends_what_was_trained(judge_double, tokenizer, prompts):
    server = judge_double()
    judge = LikelihoodJudge("hosted_vllm/judge", server.api_base)
    with pytest.raises(JudgeUnusableError, match="no prompt_logprobs"):  # this server knows none
        judge.score_sync(CONVERSATION, [PAIR.response])
    without = Pair(CONTEXT, NO_RESPONSE, PAIR.instruction)
    sent = [rendered(tokenizer, body) for body in server.bodies]
    assert tokenizer.decode(prompts.statement(without, ended=False).ids) in sent
    assert tokenizer.decode(prompts.statement(PAIR).ids).endswith(f"{PAIR.instruction}<|end|>")


def byte_pairs():
    """A tokenizer as that of GPT-2: a space belongs to the word behind it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["</s>"])


def sentence_pieces():
    """A tokenizer as that of Llama 2: a space is put before each text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer, trainers.BpeTrainer(special_tokens=["<unk>", "</s>"])


def text_of(tokenizer, lesson):
    """What a loss is on, from its tokens alone."""
    tokens = tokenizer.convert_ids_to_tokens(lesson.ids[lesson.start :])
    return "".join(tokens).replace("▁", " ").replace("Ġ", " ").strip()


WORDS = "The request was: Name the judge that reads a response. Say why soil matters to us all. "


@pytest.mark.parametrize("kind", [byte_pairs, sentence_pieces])
@pytest.mark.parametrize("before", ["<assistant>", "[/INST] "])
def test_lessons_are_in_the_tokens_of_the_server_whatever_the_tokenizer(kind, before, config):
    tokenizer, trainer = kind()
    tokenizer.train_from_iterator([WORDS] * 20, trainer)
    served = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token=tokenizer.model.unk_token)
    served.chat_template = (
        "{% for turn in messages %}{% if turn.role == 'assistant' %}{{ '" + before + "' + turn.content + '</s>' }}"
        "{% else %}{{ '<' + turn.role + '>' + turn.content + '</s>' }}{% endif %}{% endfor %}"
    )
    prompts = Prompts(served, config)
    lesson, statement = prompts.inference(PAIR), prompts.statement(PAIR, ended=False)
    opened = served(prompts.opened(PAIR), add_special_tokens=False)["input_ids"]
    assert lesson.ids[: len(opened)] == opened
    assert lesson.start < len(opened), "the opening is learned, too"
    assert text_of(served, lesson).startswith("The request was")
    likelihood = LikelihoodJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1").prompt
    chat = likelihood.messages(conversation=likelihood.conversation(PAIR.context), response=PAIR.response)
    answered = [*chat, {"role": "assistant", "content": PAIR.instruction}]
    text = served.apply_chat_template(answered, tokenize=False, continue_final_message=True)
    assert statement.ids == served(text, add_special_tokens=False)["input_ids"]
    assert text_of(served, statement).startswith("Say")
    assert prompts.statement(PAIR).ids[: len(statement.ids) - 1] == statement.ids[:-1]


def test_the_loss_is_on_the_reply_alone(tokenizer, prompts):
    for lesson in (prompts.inference(PAIR), prompts.statement(PAIR)):
        row = lesson.columns()
        learned = [token for token in row["labels"] if token != IGNORED]
        assert row["labels"] == [IGNORED] * lesson.start + learned
        assert row["input_ids"][lesson.start :] == learned
    reply = tokenizer.decode(prompts.inference(PAIR).ids[prompts.inference(PAIR).start :])
    assert reply.endswith('"<|end|>')
    assert prompts.inferred(reply.removesuffix("<|end|>")) == "Say 'why soil matters', in 4 words. No list."


@pytest.mark.parametrize(
    "form", [ReplyForm.of_text("x"), LineForm.of_line("x", "It was:"), LineForm.of_line("x", 'It: "')]
)
@given(instruction=st.text(min_size=1))
def test_nothing_in_an_instruction_ends_the_value_before_its_end(form, instruction):
    # A server looks for the stops in what the judge writes, which the opening is no part of.
    written = form.written(instruction).removeprefix(form.opening)
    value = written.removesuffix(form.closing)
    assert min((written.find(stop) for stop in form.stop if stop in written), default=len(value)) == len(value)
    said = json.loads(form.completed(value))["x"]
    assert said.split() == instruction.replace('"', "'").split()


def test_a_control_token_in_an_instruction_stays_text(tokenizer, prompts):
    lesson = prompts.inference(Pair((), "Hello", "Say <|end|> hello"))
    assert lesson.ids[lesson.start :].count(tokenizer.eos_token_id) == 1


def test_a_long_response_loses_its_middle_and_a_long_instruction_its_place(prompts):
    long = Pair((), "word " * 2000 + "end", "Write much.")
    short = fitted(long, prompts, 600, likelihood=True)
    assert CUT in short.response
    assert short.response.endswith("end")
    assert len(prompts.inference(short).ids) <= 600
    assert fitted(Pair((), "word", "Write much. " * 500), prompts, 600, likelihood=True) is None


def test_only_what_is_trained_on_has_to_fit(prompts):
    pair = Pair((), "word", "Write much.")
    lengths = len(prompts.inference(pair).ids), len(prompts.statement(pair).ids)
    assert lengths[0] < lengths[1]
    assert fitted(pair, prompts, lengths[0], likelihood=False) == pair
    assert fitted(pair, prompts, lengths[0], likelihood=True) is None
    assert fitted(pair, prompts, lengths[1], likelihood=True) == pair


def test_a_share_of_the_lessons_is_the_likelihood_judges(prompts):
    pairs = [Pair((), f"Number {n}.", f"Write number {n}.") for n in range(20)]
    statements = [prompts.statement(pair) for pair in pairs]
    assert lessons(pairs, prompts, 1.0, seed=1) == statements
    mixed = lessons(pairs, prompts, 0.5, seed=1)
    assert 0 < sum(one == other for one, other in zip(mixed, statements, strict=True)) < 20
    assert not any(one in statements for one in lessons(pairs, prompts, 0.0, seed=1))


@pytest.mark.parametrize(
    ("said", "inferred"),
    [
        ("Write about the northern sea.", "Write about the northern sea."),
        ("Write the user's request in", None),
    ],
)
def test_a_reply_that_recites_the_prompt_holds_no_inference(prompts, said, inferred):
    assert prompts.inferred(f'{said}"', is_opened=True) == inferred
