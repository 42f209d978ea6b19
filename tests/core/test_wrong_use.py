"""Wrong use ends in one line and exit code 2, wherever it is found."""

import pytest

from open_instruct_flip import FlipJudge
from open_instruct_flip.commands.main import run
from open_instruct_flip.errors import JudgeUnusableError, UsageError

URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_response_chars": -1}, "--max_response_chars is 0"),
        ({"max_response_chars": 5}, "at least 256, got 5"),
        ({"temperature": float("nan")}, "--temperature must be a finite number, 0 or above, got nan"),
        ({"timeout_s": float("inf")}, "--timeout_s must be a finite number above 0, got inf"),
        ({"timeout_s": float("nan")}, "--timeout_s must be a finite number above 0"),
        ({"retry_wait_s": -1.0}, "--retry_wait_s must be a finite number, 0 or above"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        FlipJudge("hosted_vllm/judge", URL, **options)


def test_a_model_without_a_served_name_is_refused():
    with pytest.raises(UsageError, match="lacks the served name"):
        FlipJudge("hosted_vllm/", URL)


async def test_a_model_without_a_provider_is_refused_with_the_name_to_write():
    async with FlipJudge("Qwen/Qwen3-4B", URL) as judge:
        with pytest.raises(JudgeUnusableError, match="write hosted_vllm/Qwen/Qwen3-4B"):
            await judge.score([{"role": "user", "content": "x"}], ["y"])


@pytest.mark.parametrize(
    "command",
    [
        ["local", "write-dataset", "{file}/x"],
        ["data", "convert", "{file}", "--out", "{file}/x.jsonl"],
        ["compare", "{file}", "--out", "{file}/x"],
    ],
)
def test_a_path_that_cannot_be_made_is_one_line(command, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "x", "response": "y"}\n')
    assert run([part.format(file=file) for part in command]) == 2
    error = capsys.readouterr().err
    assert str(file) in error
    assert error.count("\n") == 1


def test_a_file_is_not_converted_onto_itself(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "x"}\n')
    assert run(["data", "convert", str(file), "--out", str(file), "--overwrite"]) == 2
    assert "is what is to be converted" in capsys.readouterr().err
    assert file.read_text() == '{"prompt": "x"}\n'
