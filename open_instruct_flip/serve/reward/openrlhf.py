"""OpenRLHF's form: flat texts with the chat template in them, read into groups."""

from __future__ import annotations

from typing import Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line
from open_instruct_flip.serve.reward.bodies import OpenRlhfRequest, Turn
from open_instruct_flip.serve.reward.judging import AskedGroup
from open_instruct_flip.serve.reward.problems import Problem, RequestError
from open_instruct_flip.thinking import final_answer_in_tokens, opens_thinking


def load_tokenizer(name: str) -> Any:
    """The policy's tokenizer.

    Raises:
        UsageError: There is none of that name.
        MissingDependencyError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(f"--tokenizer needs transformers: {install_line('reward-server')}") from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"--tokenizer {name!r} can't be loaded: {reason}") from error


def read_groups(body: OpenRlhfRequest, tokenizer: Any) -> tuple[list[AskedGroup], list[list[int]]]:
    """The groups of a request, one for each prompt and label, and the numbers of the queries in each.

    Raises:
        RequestError: With a 422: the lists differ in length, or a query does not begin with its prompt.
    """
    if not len(body.query) == len(body.prompts) == len(body.labels):
        lengths = f"query {len(body.query)}, prompts {len(body.prompts)}, labels {len(body.labels)}"
        raise RequestError(Problem(422, "invalid_input", f"the lists must be of equal length, got {lengths}", "query"))
    members: dict[str, list[int]] = {}
    for number, key in enumerate(zip(body.prompts, body.labels, strict=True)):
        members.setdefault(repr(key), []).append(number)
    numbers = list(members.values())
    return [_group(body, of_group, tokenizer) for of_group in numbers], numbers


def response_of(query: str, prompt: str, tokenizer: Any) -> str:
    """The response in a query, without the chat template's tokens and without thinking.

    Raises:
        UsageError: The query does not begin with the prompt.
    """
    if not query.startswith(prompt):  # OpenRLHF decodes the prompt's tokens, which need not give the same text back
        prompt = tokenizer.decode(_ids(tokenizer, prompt), skip_special_tokens=False)
    if not query.startswith(prompt):
        raise UsageError(
            "the query does not begin with its prompt: give --tokenizer that of the policy, and leave room for the "
            "longest prompt, since OpenRLHF cuts the beginning of longer ones"
        )
    token_ids = _ids(tokenizer, query[len(prompt) :])
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    return final_answer_in_tokens(tokenizer, token_ids, text, opened=opens_thinking(prompt))


def _ids(tokenizer: Any, text: str) -> list[int]:
    token_ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return token_ids


def _group(body: OpenRlhfRequest, numbers: list[int], tokenizer: Any) -> AskedGroup:
    first, responses = numbers[0], []
    for number in numbers:
        try:
            responses.append(response_of(body.query[number], body.prompts[number], tokenizer))
        except UsageError as error:
            raise RequestError(Problem(422, "invalid_input", str(error), f"query[{number}]")) from error
    return AskedGroup(first, f"labels[{first}]", _conversation(body.labels[first]), responses)


def _conversation(label: str | list[Turn]) -> list[Message]:
    if isinstance(label, str):
        return [{"role": "user", "content": label}]
    return [{"role": turn.role, "content": turn.content} for turn in label]
