"""Final policies under the same judges, through a real loopback server and a real (tiny, random) policy."""

import json
import shutil
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint

import pytest

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.commands.main import run as flip
from open_instruct_flip.compare.run import Run
from open_instruct_flip.compare.verdicts import (
    DEFAULT_JUDGES,
    make_judges,
    read_heldout,
    responses_of,
    score_policies,
)
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.group import GroupJudge
from open_instruct_flip.rewards import Reward

INSTRUCTION = "what is soil degradation?"
REPLY = json.dumps({"reasoning": "-", "instruction": INSTRUCTION, "score": 8})


class Handler(BaseHTTPRequestHandler):
    """Infers the one instruction and gives 8 of 10, but has nothing to say about the word 'hopeless'."""

    def do_POST(self):
        prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
        text = "no verdict" if "hopeless" in prompt else REPLY
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self._answer(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "judge",
                "choices": [choice],
                "usage": usage,
            }
        )

    def do_GET(self):
        self._answer({"data": [{"id": "judge"}]})

    def _answer(self, content):
        body = json.dumps(content)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def api_base():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def client(api_base):
    return ClientConfig(llm_judge_model="hosted_vllm/judge", api_base=api_base, judge_transport="direct")


def ask(instruction):
    return [{"role": "user", "content": instruction}]


def write_lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_each_run_gets_its_mean_under_each_judge_and_failures_are_no_zeros(api_base):
    answered = {
        "good": [
            (ask(INSTRUCTION), ["It wears out.", "Soil loses its strength."]),
            (ask("what is soil degradation"), ["It is lost."]),
        ],
        "poor": [(ask("what is soil degradation"), ["hopeless"]), (ask(INSTRUCTION), ["The Elbe.", "hopeless"])],
    }
    verdicts = {
        (v.run, v.judge): v for v in score_policies(answered, make_judges(DEFAULT_JUDGES, {}, client(api_base)))
    }
    assert set(verdicts) == {(run, judge) for run in answered for judge in ("flip", "pointwise")}
    assert (verdicts["good", "flip"].mean, verdicts["good", "flip"].half_width) == (1.0, 0.0)
    assert (verdicts["poor", "flip"].mean, verdicts["poor", "flip"].half_width) == (1.0, None)
    for run in answered:
        assert verdicts[run, "pointwise"].mean == pytest.approx(0.8)
    assert (verdicts["poor", "pointwise"].prompts, verdicts["poor", "pointwise"].failures) == (1, 2)
    assert verdicts["good", "flip"].failures == 0


def test_the_interval_is_over_prompts(api_base):
    answered = {
        "a": [(ask(INSTRUCTION), ["x", "y"]), (ask("soil degradation"), ["x", "y"]), (ask("a river"), ["x", "y"])]
    }
    flip_verdict = score_policies(answered, make_judges(DEFAULT_JUDGES, {}, client(api_base)))[0]
    means = [1.0, 2 / 3, 0.0]  # "what is soil degradation" against "soil degradation": P 2/4, R 2/2
    mean = sum(means) / 3
    deviation = (sum((value - mean) ** 2 for value in means) / 2) ** 0.5
    assert flip_verdict.mean == pytest.approx(mean)
    assert flip_verdict.half_width == pytest.approx(1.96 * deviation / 3**0.5)
    assert flip_verdict.prompts == 3


def test_the_command_shows_verdicts_beside_the_curves(two_runs, api_base, tmp_path, capsys):
    rows = [{"run": name, "prompt": INSTRUCTION, "responses": ["It is lost."]} for name in ("flip", "llmjudge")]
    heldout = write_lines(tmp_path / "heldout.jsonl", rows)
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", api_base, "--judge_transport", "direct"]
    assert flip(["compare", *two_runs, "--heldout", str(heldout), "--out", str(tmp_path), *judge]) == 0
    out = capsys.readouterr().out
    assert "under the same judges" in out
    assert out.count("0.800") == 2
    page = (tmp_path / "compare.html").read_text()
    assert "Final policies under the same judges" in page
    assert "1.000" in page


class LengthJudge(Judge):
    """A judge of another package: the longer, the better."""

    name = "length"

    async def score_group(self, conversation, responses):
        return [Reward(score=min(1.0, len(response) / 20)) for response in responses]


@pytest.fixture
def entry_points(monkeypatch):
    """Judges that other packages offer: one that works, one whose package is broken."""
    group = "open_instruct_flip.judges"
    module = types.ModuleType("package_of_a_judge")
    module.LengthJudge = LengthJudge
    monkeypatch.setitem(sys.modules, "package_of_a_judge", module)
    points = [
        EntryPoint("length", "package_of_a_judge:LengthJudge", group),
        EntryPoint("broken", "no_such_package.judges:Broken", group),
    ]
    monkeypatch.setattr(
        "open_instruct_flip.plugins.entry_points",
        lambda group, name=None: [point for point in points if name in (None, point.name)],
    )


def judged(names, tmp_path, two_runs, api_base, *options):
    """Exit code and page of a comparison under these judges: the flip run's response is longer than the other's."""
    answers = {"flip": "It is lost, all of it.", "llmjudge": "Lost."}
    rows = [{"run": run, "prompt": INSTRUCTION, "response": answer} for run, answer in answers.items()]
    heldout = write_lines(tmp_path / "heldout.jsonl", rows)
    server = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", api_base, "--judge_transport", "direct"]
    chosen = [part for name in names for part in ("--judge", name)]
    code = flip(
        ["compare", *two_runs, "--heldout", str(heldout), "--out", str(tmp_path / "out"), *server, *chosen, *options]
    )
    page = tmp_path / "out" / "compare.html"
    return code, page.read_text() if page.exists() else ""


def test_any_judges_can_be_chosen_also_one_of_another_package(entry_points, two_runs, api_base, tmp_path):
    code, page = judged(["length", "pointwise"], tmp_path, two_runs, api_base)
    assert code == 0
    assert "<th>length</th>" in page
    assert "<th>pointwise</th>" in page
    assert "<th>flip</th>" not in page
    assert "0.250" in page


def test_a_judge_that_cannot_be_used_is_one_line_before_any_work(entry_points, two_runs, api_base, tmp_path, capsys):
    for names, options, says in [
        (["broken"], [], "'broken' of the entry point 'no_such_package.judges:Broken' can't be imported"),
        (["referee"], [], "no judge is called 'referee'"),
        (["pointwise", "listwise"], ["--similarity", "f1"], "the judges pointwise and listwise have no --similarity"),
        (["pointwise"], ["--flip_target", "system"], "the pointwise judge has no --flip_target: leave it out"),
    ]:
        code, page = judged(names, tmp_path, two_runs, api_base, *options)
        assert (code, page) == (2, "")
        assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_broken_judge_of_another_package_changes_nothing_for_the_others(entry_points, two_runs, api_base, tmp_path):
    assert judged(["pointwise"], tmp_path, two_runs, api_base)[0] == 0


def test_judges_are_chosen_for_held_out_prompts_only(two_runs, capsys):
    assert flip(["compare", *two_runs, "--judge", "flip"]) == 2
    assert "--heldout" in capsys.readouterr().err


def test_a_judge_that_compares_a_group_compares_the_runs():
    class Contest(GroupJudge):
        name = "contest"

        async def compare(self, conversation, responses, counts):
            return [Reward(score=float("better" in response)) for response in responses]

    answered = {
        "a": [(ask("x"), ["better"]), (ask("y"), ["better"]), (ask("only a"), ["worse"])],
        "b": [(ask("x"), ["worse"]), (ask("y"), ["worse"])],
    }
    contest = Contest("hosted_vllm/judge", "http://127.0.0.1:9/v1")
    verdicts = {verdict.run: verdict for verdict in score_policies(answered, [contest])}
    assert (verdicts["a"].mean, verdicts["b"].mean) == (1.0, 0.0)
    assert verdicts["a"].prompts == 2  # nobody to compare with at the third
    with pytest.raises(UsageError, match="the contest judge compares the runs, and there is only a"):
        score_policies({"a": answered["a"]}, [contest])


def test_runs_are_compared_on_the_prompts_that_all_have_answered(api_base):
    easy, hard = (ask(INSTRUCTION), ["Soil is lost."]), (ask("name a river"), ["The Elbe."])
    judges = make_judges(["flip"], {}, client(api_base))
    verdicts = score_policies({"a": [easy, hard], "b": [hard]}, judges)
    assert [(verdict.run, verdict.prompts) for verdict in verdicts] == [("a", 1), ("b", 1)]
    assert verdicts[0].mean == verdicts[1].mean
    with pytest.raises(UsageError, match="no prompt was answered by all of the runs a, b"):
        score_policies({"a": [easy], "b": [hard]}, judges)


def test_a_name_that_two_runs_share_is_neithers(tmp_path):
    lines = [{"prompt": "x", "response": source, "run": source} for source in ("exp1/flip", "exp2/flip", "flip")]
    rows = read_heldout(write_lines(tmp_path / "heldout.jsonl", lines))
    runs = [Run("exp1/flip", "exp1/flip"), Run("exp2/flip", "exp2/flip")]
    for run in runs:
        assert responses_of(run, rows, 4, runs) == [(ask("x"), [run.source])]
    assert [answers for _, answers in responses_of(runs[0], rows, 4, runs[:1])] == [["exp1/flip"], ["flip"]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A run folder whose final policy is a random model of 8 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    words = ["<pad>", "<eos>", "what", "is", "soil", "degradation", "it", "lost"]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = Qwen3Config(
        vocab_size=len(words),
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        **sizes,
    )
    folder = tmp_path_factory.mktemp("run")
    Qwen3ForCausalLM(config).save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return folder


def test_the_final_policy_writes_the_responses_the_file_lacks(policy, tmp_path):
    heldout = write_lines(
        tmp_path / "prompts.jsonl", [{"prompt": "what is soil"}, {"messages": ask("soil degradation is it")}]
    )
    answered = responses_of(Run("a", str(policy)), read_heldout(heldout), max_new_tokens=4)
    assert [conversation[-1]["content"] for conversation, _ in answered] == ["what is soil", "soil degradation is it"]
    again = responses_of(Run("a", str(policy)), read_heldout(heldout), max_new_tokens=4)
    assert answered == again
    alone = responses_of(Run("a", str(policy)), read_heldout(heldout)[:1], max_new_tokens=4)
    assert alone == answered[:1]  # padding beside a longer prompt changes nothing
    assert all(len(response.split()) <= 4 for _, (response,) in answered)


def test_what_the_final_policy_thinks_is_not_its_response(policy, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy / "policy")
    written = tokenizer.decode([2, 3])
    shutil.copytree(policy, tmp_path / "run")
    settings = tmp_path / "run" / "policy" / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"suppress_tokens": [0, 1]}))  # words only
    heldout = read_heldout(write_lines(tmp_path / "prompts.jsonl", [{"prompt": "what is soil"}]))

    def response():
        ((_, (answer,)),) = responses_of(Run("a", str(tmp_path / "run")), heldout, max_new_tokens=4)
        return answer

    assert len(response().split()) == 4
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>{% endif %}"
    tokenizer.save_pretrained(tmp_path / "run" / "policy")
    assert response() == "", "these words never close the section"
    from open_instruct_flip.compare.respond import _answer

    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    ids = [4, 5, tokenizer.convert_tokens_to_ids("</think>"), 2, 3, 1, 0]
    assert _answer(tokenizer, "what <think>", ids) == written, "tags are found where they are special tokens"
    assert _answer(tokenizer, "what", [2, 3, 1, 0]) == written


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "heldout.jsonl:2: the line is not valid JSON"),
        ('{"text": "x"}', "none of the columns"),
        ('{"prompt": 3}', "heldout.jsonl:2: "),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "conversation is empty"),
        ('{"prompt": "x", "responses": ["y"]}', "go together"),
        ('{"prompt": "x", "run": "a"}', "go together"),
        ('{"prompt": "x", "run": "a", "responses": "y"}', "no list but str"),
        ('{"prompt": "x", "run": "a", "response": "y"}', "one kind"),
    ],
)
def test_a_held_out_line_that_can_not_be_used_is_named(tmp_path, line, says):
    file = tmp_path / "heldout.jsonl"
    file.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(UsageError, match=says):
        read_heldout(file)


def test_a_judge_that_is_not_there_is_found_before_a_policy_is_loaded(two_runs, tmp_path, capsys):
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "x"}])
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", "http://127.0.0.1:9/v1"]
    assert flip(["compare", *two_runs, "--out", str(tmp_path / "out"), "--heldout", str(prompts), *judge]) == 1
    assert "no judge at http://127.0.0.1:9/v1" in capsys.readouterr().err


def test_wrong_use_is_one_line_before_any_work(two_runs, api_base, tmp_path, capsys):
    empty = write_lines(tmp_path / "empty.jsonl", [])
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "x"}])
    others = write_lines(tmp_path / "others.jsonl", [{"prompt": "x", "run": "another", "response": "y"}])
    judge = ["--llm_judge_model", "hosted_vllm/judge", "--api_base", api_base]
    for heldout, options, says in [
        (prompts, [], "no judge model given"),
        (empty, judge, "holds no prompt"),
        (prompts, judge, "saved no final policy"),
        (others, judge, "has no responses of flip"),
    ]:
        out = tmp_path / "out"
        assert flip(["compare", *two_runs, "--out", str(out), "--heldout", str(heldout), *options]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1
        assert not out.exists()


def test_a_policy_folder_without_a_model_is_named(tmp_path):
    (tmp_path / "policy").mkdir()
    heldout = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "x"}])
    with pytest.raises(UsageError, match="can't be loaded as a policy"):
        responses_of(Run("a", str(tmp_path)), read_heldout(heldout), max_new_tokens=4)
