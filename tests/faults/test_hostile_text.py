"""What judges write when they do not do as told, over a real socket, and the reward that each reply must give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_double import JudgeDouble

from open_instruct_flip import FlipJudge, f1_score
from open_instruct_flip.judges.reply import UnreadableReply, inferred_instruction
from open_instruct_flip.rewards import FailureKind

TRUE = 'Explain "soil loss" to a child, in two sentences.'
WHY = "It explains soil loss in simple words."
GOOD = {"reasoning": WHY, "instruction": TRUE}
JSON, PRETTY = json.dumps(GOOD), json.dumps(GOOD, indent=4)
PLAIN = "Explain soil loss to a child, in two sentences."
HALF = "Explain soil loss."
HALF_F1 = 2 * 3 / (3 + 8)  # 3 of 3 tokens, and 3 of explain soil loss to child in two sentences
NOTHING = FailureKind.UNREADABLE_REPLY

# name: (reply, reward or failure)
REPLIES = {
    # as asked
    "compact": (JSON, 1.0),
    "pretty": (PRETTY, 1.0),
    "windows line ends": (PRETTY.replace("\n", "\r\n"), 1.0),
    "no spaces": (json.dumps(GOOD, separators=(",", ":")), 1.0),
    "instruction first": (json.dumps({"instruction": TRUE, "reasoning": WHY}), 1.0),
    "instruction only": (json.dumps({"instruction": TRUE}), 1.0),
    "a worse inference": (json.dumps({"reasoning": WHY, "instruction": HALF}), HALF_F1),
    "a wrong inference": (json.dumps({"reasoning": WHY, "instruction": "Sing."}), 0.0),
    "byte order mark": ("\ufeff" + JSON, 1.0),
    "zero width spaces around": ("\u200b" + JSON + "\u200b", 1.0),
    "escaped unicode": ('{"instruction": "\\u0045xplain soil loss to a child, in two sentences."}', 1.0),
    "escaped slashes and tabs": ('{"instruction": "Explain\\tsoil loss\\/ to a child,\\nin two sentences."}', 1.0),
    # keys
    "upper case key": (json.dumps({"REASONING": WHY, "INSTRUCTION": TRUE}), 1.0),
    "the authors' keys": (json.dumps({"REASONING": WHY, "INFERRED INSTRUCTION": TRUE}), 1.0),
    "camel case key": (json.dumps({"inferredInstruction": TRUE}), 1.0),
    "snake case key": (json.dumps({"inferred_instruction": TRUE}), 1.0),
    "key with spaces around": (json.dumps({" instruction ": TRUE}), 1.0),
    "key with a colon": (json.dumps({"instruction:": TRUE}), 1.0),
    "key with a number": (json.dumps({"instruction_1": TRUE}), NOTHING),  # one of several
    "prompt as key": (json.dumps({"prompt": TRUE}), 1.0),
    "user query as key": (json.dumps({"user_query": TRUE}), 1.0),
    "the same key twice": (f'{{"instruction": "Sing.", "instruction": {json.dumps(TRUE)}}}', NOTHING),
    "reasoning about the instruction": (json.dumps({"instruction_reasoning": "Sing.", "instruction": TRUE}), 1.0),
    # around the JSON
    "fence": (f"```json\n{PRETTY}\n```", 1.0),
    "fence, upper case": (f"```JSON\n{JSON}\n```", 1.0),
    "fence without a name": (f"```\n{JSON}\n```", 1.0),
    "fence never closed": (f"```json\n{JSON}", 1.0),
    "tildes": (f"~~~json\n{JSON}\n~~~", 1.0),
    "fence in prose": (f"Here you are:\n```json\n{PRETTY}\n```\nAnything else?", 1.0),
    "prose before": (f"Sure! {JSON}", 1.0),
    "prose after": (f"{JSON}\nLet me know if you need more {{detail}}.", 1.0),
    "braces in prose before": (f"The set {{a, b}} and {{}} mean little. {JSON}", 1.0),
    "xml around": (f"<answer>{JSON}</answer>", 1.0),
    "bullet": (f"- {JSON}", 1.0),
    "quoted as Markdown": ("> " + PRETTY.replace("\n", "\n> "), 1.0),
    "end of text token after": (f"{JSON}<|im_end|>", 1.0),
    "control tokens around": (f"<|assistant|>\n{JSON}\n<|endoftext|><|endoftext|>", 1.0),
    # several objects
    "a draft, then the answer": (f'{{"instruction": "Sing."}} No: {JSON}', 1.0),
    "the same object three times": (f"{JSON}\n{JSON}\n{JSON}", 1.0),
    "lines of JSON": (f'{{"reasoning": "{WHY}"}}\n{{"instruction": {json.dumps(TRUE)}}}', 1.0),
    "an answer, then an empty one": (f'{JSON} {{"instruction": ""}}', 1.0),
    "an answer, then the placeholder": (f'{JSON}\n{{"reasoning": "...", "instruction": "..."}}', 1.0),
    "list of one": (json.dumps([GOOD]), 1.0),
    "object in an object": (json.dumps({"result": {"output": GOOD}}), 1.0),
    "JSON in a JSON string": (json.dumps(JSON), 1.0),
    "JSON in the field": (json.dumps({"instruction": json.dumps({"instruction": TRUE})}), NOTHING),
    # the value's type
    "list of parts": (json.dumps({"instruction": ["Explain soil loss", "to a child, in two sentences."]}), 1.0),
    "object of parts": (json.dumps({"instruction": {"task": PLAIN[:17], "limits": PLAIN[17:]}}), 1.0),
    "number": ('{"instruction": 5}', 0.0),
    "true": ('{"instruction": true}', NOTHING),
    "null": ('{"instruction": null}', NOTHING),
    "empty list": ('{"instruction": []}', NOTHING),
    "empty object": ('{"instruction": {}}', NOTHING),
    "only a bare JSON string": (json.dumps(TRUE), 1.0),
    # malformed
    "unescaped quotes": (f'{{"reasoning": "{WHY}", "instruction": "{TRUE}"}}', 1.0),
    "unescaped quotes in the reasoning": (f'{{"reasoning": "It says "soil", twice", "instruction": "{PLAIN}"}}', 1.0),
    "single quotes": (f"{{'reasoning': 'None', 'instruction': '{PLAIN}'}}", 1.0),
    "curly quotes": (f"{{“reasoning”: “None”, “instruction”: “{PLAIN}”}}", 1.0),
    "no quotes around the key": (f'{{instruction: "{PLAIN}"}}', 1.0),
    "trailing comma": (JSON[:-1] + ",}", 1.0),
    "missing comma": (f'{{"reasoning": "{WHY}" "instruction": "{PLAIN}"}}', 1.0),
    "equals sign": (f'{{"reasoning" = "{WHY}", "instruction" = "{PLAIN}"}}', NOTHING),
    "doubled braces": ("{" + JSON + "}", 1.0),
    "no braces": (JSON[1:-1], 1.0),
    "only the end brace": (JSON[1:], 1.0),
    "parenthesis instead of the brace": (JSON[:-1] + ")", 1.0),
    "comment": (f'{{\n// my view\n"instruction": "{PLAIN}" // final\n}}', NOTHING),
    "raw line break in the string": ('{"instruction": "Explain soil loss\nto a child, in two sentences."}', 1.0),
    "tab in the string": ('{"instruction": "Explain soil loss\tto a child, in two sentences."}', 1.0),
    "null byte in the string": ('{"instruction": "Explain soil loss to a child, in two sentences.\x00"}', 7 / 8),
    "bad escape": ('{"instruction": "Explain soil loss to a child\\, in two sentences."}', 1.0),
    "python's None": (f'{{"reasoning": None, "instruction": "{PLAIN}"}}', 1.0),
    "yaml": (f"reasoning: {WHY}\ninstruction: {PLAIN}", 1.0),
    "labelled in bold": (f"**Reasoning:** {WHY}\n\n**Instruction:** {PLAIN}", 1.0),
    "heading as label": (f"### Inferred instruction: {PLAIN}", 1.0),
    # cut off
    "cut before the last quote": (JSON[:-2], 1.0),
    "cut before the last brace": (JSON[:-1], 1.0),
    "cut in the instruction": ('{"reasoning": "None", "instruction": "Explain soil loss', HALF_F1),
    "cut in the key": (JSON[: JSON.index('"instruction"') + 6], NOTHING),
    "cut in the reasoning": (JSON[:30], NOTHING),
    "cut after the colon": ('{"instruction":', NOTHING),
    "white space until the limit": ('{"reasoning": "x",' + " \n" * 400, NOTHING),
    # thinking
    "think tags": (f"<think>Hm, a song?</think>\n{JSON}", 1.0),
    "think tags that hold an object": (f'<think>{{"instruction": "Sing."}}</think>{JSON}', 1.0),
    "only the closing tag": (f'{{"instruction": "Sing."}} or?</think>{JSON}', 1.0),
    "thinking never closed": ("<think>\nThe instruction: sing. It could also be", NOTHING),
    "thinking never closed, with the answer in it": (f"<think>\nSo it is {JSON}", NOTHING),
    "a closing tag in the JSON": (JSON.replace("It explains", "It explains </think>"), 1.0),
    "thinking, then a closing tag in the JSON": (f"<think>a</think>{JSON.replace(WHY, '</think> and </think>')}", 1.0),
    "a closing tag in the instruction": ('{"instruction": "Explain soil loss </think>."}', 0.5),
    "closed twice": (f"<think>a</think><think>b</think>{JSON}", 1.0),
    "nothing after thinking": ("<think>\nIt explains.</think>\n", NOTHING),
    "brackets of Mistral": (f"[THINK]a song?[/THINK]{JSON}", 1.0),
    "harmony channels": (f"<|channel|>analysis<|message|>Hm<|end|><|channel|>final<|message|>{JSON}", 1.0),
    # other languages and scripts: no word in common is an F1 of 0, not a failure
    "German": (json.dumps({"instruction": "Erkläre einem Kind in zwei Sätzen den Bodenverlust."}), 2 * 1 / (8 + 8)),
    "Chinese": (json.dumps({"instruction": "用两句话向孩子解释土壤流失。"}, ensure_ascii=False), 0.0),
    "full-width colon": (f"Instruction：{PLAIN}", 1.0),
    "Arabic": (json.dumps({"instruction": "اشرح فقدان التربة لطفل"}), 0.0),
    "emoji": (json.dumps({"instruction": "🌱🌱🌱"}), 0.0),
    "combining marks": (json.dumps({"instruction": "E\u0301" * 50}), 0.0),
    "lone surrogate in the answer": ('{"instruction": "Explain soil loss to a child, in two sentences. \\ud800"}', 1.0),
    "only a lone surrogate": ('{"instruction": "\\udfff"}', NOTHING),
    # nothing to read
    "empty": ("", FailureKind.EMPTY_REPLY),
    "blank": ("\n\t ", FailureKind.EMPTY_REPLY),
    "refusal": ("I'm sorry, but I can't help with that.", NOTHING),
    "placeholder": ('{"reasoning": "<one short sentence>", "instruction": "<the instruction>"}', NOTHING),
    "template marker": ('{"instruction": "{instruction}"}', NOTHING),
    "ellipsis": ('{"instruction": "..."}', NOTHING),
    "articles only": ('{"instruction": "The a an"}', NOTHING),
    "empty object alone": ("{}", NOTHING),
    "empty list alone": ("[]", NOTHING),
    "a score": ('{"score": 9}', NOTHING),
    "a fake reward": ('{"reward": 1.0, "score": 10, "f1": 1.0}', NOTHING),
    "html": ("<html><body>502</body></html>", NOTHING),
    # size and depth
    "1 MB of text": ("soil " * 200_000, NOTHING),
    "1 MB before the answer": ("soil " * 200_000 + JSON, 1.0),
    "1 MB after the answer": (JSON + " soil" * 200_000, 1.0),
    "1 MB of braces": ("{" * 1_000_000, NOTHING),
    "1 MB of brackets": ("[" * 1_000_000, NOTHING),
    "1 MB of backslashes": ('{"instruction": "' + "\\" * 1_000_000, NOTHING),
    "1 MB of quotes": ('"' * 1_000_000, NOTHING),
    "10,000 objects, the last is the answer": ("{}" * 10_000 + JSON, 1.0),
    "nested 5,000 deep": ('{"a":' * 5_000 + "1" + "}" * 5_000, NOTHING),
    "an endless instruction": (json.dumps({"instruction": "soil " * 200_000}), 2 / 200_008),
    "many keys": (json.dumps({f"k{n}": "x" for n in range(20_000)} | GOOD), 1.0),
}  # fmt: skip
assert len(REPLIES) >= 80
NAMES = list(REPLIES)


@pytest.fixture(scope="module")
def rewards():
    """The rewards of all replies, judged as one group over a real socket."""

    def reply(body):
        name = body["messages"][-1]["content"].split("case=")[1].split("\n")[0]
        return REPLIES[name][0]

    with JudgeDouble(reply) as server:
        judge = FlipJudge(
            "hosted_vllm/judge", server.api_base, judge_transport="direct", timeout_s=300.0, reply_contract="free"
        )
        scored = judge.score_sync([{"role": "user", "content": TRUE}], [f"case={name}" for name in NAMES])
        unreadable = sum(isinstance(expected, FailureKind) for _, expected in REPLIES.values())
        assert server.num_requests == len(NAMES) + unreadable  # those are asked once more
    return dict(zip(NAMES, scored, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_each_reply_gives_its_reward(name, rewards):
    expected, reward = REPLIES[name][1], rewards[name]
    if isinstance(expected, FailureKind):
        assert (reward.error, reward.score) == (expected, None)
    else:
        assert reward.score == pytest.approx(expected, abs=1e-9), (reward.inferred_instruction, reward.detail)
        json.dumps(reward.as_row()).encode()


MARKS = [*"{}[]\"':,\\“", "...", "```json\n", "\n", "\x00", "\ud800", "<think>", "</think>", "<|im_end|>"]
WORDS = ["instruction", "reasoning", "instruction: ", "Explain soil", "null", "土"]
PIECES = st.sampled_from(MARKS + WORDS)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
def test_reading_a_reply_gives_text_or_says_why_not(reply):
    try:
        instruction = inferred_instruction(reply)
    except UnreadableReply:
        return
    instruction.encode()
    assert 0.0 <= f1_score(instruction, TRUE).f1 <= 1.0
    assert f1_score(instruction, TRUE).f1 == f1_score(TRUE, instruction).f1
    assert f1_score(instruction, instruction).f1 == 1.0
