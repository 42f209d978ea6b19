"""`POST /get_reward`: OpenRLHF's form, on a real tokenizer, and through OpenRLHF's own client where it is installed."""

import itertools
import re

import pytest
from judge_double import JudgeDouble, varied_reply

from open_instruct_flip.errors import UsageError
from open_instruct_flip.local.models import model_path
from open_instruct_flip.serve.reward.openrlhf import load_tokenizer

INSTRUCTION = "Name three causes why soil may be lost in spring."
RESPONSES = ["Rain and wind.", "Frost; the plough.", "Write a short poem about warm soil."]
POLICY = str(model_path("policy"))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(POLICY)


@pytest.fixture
def server(reward_server, judge_double):
    return reward_server(judge_double().api_base, server={"tokenizer": POLICY})


def body_of(tokenizer, responses, instruction=INSTRUCTION, system=()):
    """What OpenRLHF posts: it decodes prompt and response with the template's tokens in them."""
    turns = [*system, {"role": "user", "content": instruction}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    token_ids = [tokenizer(f"{prompt}{r}{tokenizer.eos_token}", add_special_tokens=False).input_ids for r in responses]
    queries = [tokenizer.decode(ids, skip_special_tokens=False) for ids in token_ids]
    return {
        "query": queries,
        "prompts": [prompt] * len(responses),
        "labels": [instruction] * len(responses),
    }


def test_rewards_are_those_of_the_other_form(server, tokenizer):
    answer = server.client.post("/get_reward", json=body_of(tokenizer, RESPONSES)).json()
    rows = server.rewards({"prompt": INSTRUCTION, "responses": RESPONSES}).json()["rewards"]
    assert answer["rewards"] == answer["scores"] == [row["score"] for row in rows]
    assert len(set(answer["rewards"])) > 1
    # The last response shares one word of its six with the instruction's ten: F1 0.125.
    logs = {"judge_failure": [0.0] * 3, "copy_rate": [0.0] * 3, "overlap": [0.0, 0.0, 0.125]}
    assert answer["extra_logs"] == logs


def test_queries_of_several_prompts_keep_their_order_and_each_prompt_is_a_group(reward_server, judge_double, tokenizer):
    server = reward_server(judge_double(reply=b_or_d_wins).api_base, server={"tokenizer": POLICY, "judge": "listwise"})
    soil, wood = body_of(tokenizer, ["a", "b"]), body_of(tokenizer, ["c", "d"], "Name a use of wood.")
    mixed = {name: [*itertools.chain(*zip(soil[name], wood[name], strict=True))] for name in soil}
    assert server.client.post("/get_reward", json=mixed).json()["rewards"] == [0.0, 0.0, 1.0, 1.0]


def b_or_d_wins(body):
    shown = "".join(message["content"] for message in body["messages"])
    found = re.search(r"<response_(\d)>\n[bd]\n", shown)  # not in what is asked to try the server
    return f'{{"ranking": [{found[1] if found else 1}]}}'


def test_a_label_may_hold_the_context_too(server, tokenizer):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": INSTRUCTION}]
    body = body_of(tokenizer, RESPONSES, system=turns[:1]) | {"labels": [turns] * 3}
    rows = server.rewards({"messages": turns, "responses": RESPONSES}).json()["rewards"]
    assert server.client.post("/get_reward", json=body).json()["rewards"] == [row["score"] for row in rows]


def test_the_judge_sees_no_token_of_the_template(reward_server, judge_double, tokenizer):
    double = judge_double()
    server = reward_server(double.api_base, server={"tokenizer": POLICY})
    assert server.client.post("/get_reward", json=body_of(tokenizer, RESPONSES)).status_code == 200
    assert not any(token in str(double.bodies) for token in tokenizer.all_special_tokens)
    assert INSTRUCTION not in str(double.bodies), "and not the prompt"


def test_a_prompt_that_opens_the_thinking_leaves_it_unjudged(reward_server, judge_double, tokenizer):
    double = judge_double()
    server = reward_server(double.api_base, server={"tokenizer": POLICY})
    prompt = body_of(tokenizer, ["a"])["prompts"][0] + "<think>"
    queries = [f"{prompt}They ask of soil.</think>Rain.", f"{prompt}They ask of soil"]
    body = {"query": queries, "prompts": [prompt] * 2, "labels": [INSTRUCTION] * 2}
    answered, endless = server.client.post("/get_reward", json=body).json()["rewards"]
    assert answered > 0
    assert endless == 0.0
    assert "They ask" not in str(double.bodies)


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"labels": []}, "query", "query 3, prompts 3, labels 0"),
        ({"prompts": ["Another prompt"] * 3}, "query[0]", "does not begin with its prompt"),
        ({"labels": ["?!"] * 3}, "labels[0]", "no word to compare with"),
        ({"labels": [7] * 3}, "labels[0].str", "valid string"),
        ({"query": None}, "query", "valid list"),
    ],
)
def test_bad_input_is_refused_with_its_place(change, place, words, server, tokenizer):
    answer = server.client.post("/get_reward", json=body_of(tokenizer, RESPONSES) | change)
    assert (answer.status_code, answer.json()["error"]["place"]) == (422, place)
    assert words in answer.json()["error"]["message"]


def test_without_a_tokenizer_nothing_is_guessed(reward_server, tokenizer):
    answer = reward_server().client.post("/get_reward", json=body_of(tokenizer, RESPONSES))
    assert answer.status_code == 501
    assert "--tokenizer" in answer.json()["error"]["message"]
    with pytest.raises(UsageError, match=r"--tokenizer '\./nowhere' can't be loaded"):
        load_tokenizer("./nowhere")


@pytest.fixture
def own_client():
    """What OpenRLHF asks its reward server with."""
    agent = pytest.importorskip("openrlhf.utils.agent", reason="OpenRLHF is not installed beside this project")

    async def ask(url, body):
        executor = agent.SingleTurnAgentExecutor(f"{url}/get_reward")
        return await executor._fetch_rewards_via_http(*(body[name] for name in ("query", "prompts", "labels")))

    return ask


async def test_openrlhfs_own_client_gets_its_rewards(server, tokenizer, own_client):
    (answer,) = await own_client(server.url, body_of(tokenizer, RESPONSES))
    rows = server.rewards({"prompt": INSTRUCTION, "responses": RESPONSES}).json()["rewards"]
    assert answer["rewards"] == [row["score"] for row in rows]


async def test_openrlhfs_own_client_gets_no_number_while_the_judge_is_down_and_rewards_when_it_is_back(
    reward_server, judge_double, tokenizer, own_client
):
    double = judge_double()
    server = reward_server(double.api_base, server={"tokenizer": POLICY})
    body = body_of(tokenizer, RESPONSES[:1])
    (before,) = await own_client(server.url, body)
    double.stop()
    with pytest.raises(RuntimeError, match="Request error for 5 times"):
        await own_client(server.url, body)
    with JudgeDouble(varied_reply, port=double.port):
        (after,) = await own_client(server.url, body)
    assert after == before
