"""What an error's text tells: only the server's own words count, never the request that it echoes."""

import json

import pytest

from open_instruct_flip.client.http_status import status_failure
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import JudgeUnusableError
from open_instruct_flip.rewards import FailureKind

UNKNOWN_FIELD = {"type": "extra_forbidden", "loc": ["body", "prompt_logprobs"], "msg": "Extra inputs", "input": 0}
CREDENTIALS = "Missing credentials. Please pass an `api_key`, or set the `OPENAI_API_KEY`"
LITELLM = "litellm.BadRequestError: Hosted_vllmException - "

# As the servers and litellm say it.
HOPELESS = {
    "transformers serve, another model": (400, json.dumps({"detail": "Server is pinned to 'a'; requested 'b'."})),
    "transformers serve, a field": (
        422,
        json.dumps({"detail": "Unexpected fields in the request: {'continue_final_message', 'prompt_logprobs'}"}),
    ),
    "OpenAI, an argument": (
        400,
        json.dumps({"error": {"message": "Unrecognized request argument supplied: prompt_logprobs"}}),
    ),
    "OpenAI, a parameter": (400, json.dumps({"error": {"message": "Unknown parameter: 'prompt_logprobs'."}})),
    "FastAPI": (422, json.dumps({"detail": [UNKNOWN_FIELD]})),
    "Go": (400, json.dumps({"error": {"message": 'json: unknown field "prompt_logprobs"'}})),
    "litellm without a key": (500, f"litellm.InternalServerError: ServerError: OpenAIException - {CREDENTIALS}"),
    "litellm without a key for Azure": (500, f"litellm.APIError: AzureException APIError - {CREDENTIALS}"),
    "litellm, a server's body": (422, LITELLM + json.dumps({"detail": [UNKNOWN_FIELD]})),
    "litellm, a server's words": (400, f"{LITELLM}Unknown parameter: 'prompt_logprobs'."),
}  # fmt: skip
SIGNS = ["prompt_logprobs", "Server is pinned to 'a'", "Missing credentials. ", "unknown field prompt_logprobs"]


def failure_of(status, message):
    return status_failure(status, message, where="http://judge:8001/v1", model="j")


@pytest.mark.parametrize("server", HOPELESS)
def test_what_every_request_would_meet_is_unusable(server):
    failure = failure_of(*HOPELESS[server])
    assert type(failure) is JudgeUnusableError, failure


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_response_that_is_echoed_ends_no_run(sign, status):
    fault = {"type": "string_type", "loc": ["body", "messages", 1], "msg": "Input should be a string", "input": sign}
    for message in (
        json.dumps({"detail": [fault]}),
        json.dumps({"error": {"message": str([fault])}}),
        json.dumps({"error": {"message": f"can't read {sign}"}}),
        LITELLM + json.dumps({"detail": [fault]}),
        f"<html>can't read {sign}",
    ):
        assert isinstance(failure_of(status, message), RequestFailed)


def test_a_validation_says_place_and_reason_and_not_its_input():
    fault = {"loc": ["body", "seed"], "msg": "Input should be an integer", "input": "the context length is too long"}
    failure = failure_of(400, json.dumps({"detail": [fault, fault | {"loc": ["body", "n"]}]}))
    assert failure.kind is FailureKind.REJECTED
    assert str(failure) == (
        "http://judge:8001/v1 answered 400: body.seed: Input should be an integer; body.n: Input should be an integer"
    )
