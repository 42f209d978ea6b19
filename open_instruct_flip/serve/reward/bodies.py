"""What `POST /v1/rewards` and `POST /get_reward` take."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True)


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = STRICT
    role: str
    content: str


class Group(BaseModel):
    """A prompt and the responses to it, which are judged together."""

    model_config = STRICT
    id: str | int | None = Field(None, description="Comes back with each reward; else the group's number from 0")
    messages: list[Turn] | None = Field(None, description="The conversation, ending with the user turn")
    prompt: str | None = Field(None, description="In place of messages: a single user turn")
    ground_truth: str | None = Field(
        None, description="The exact instruction, where the last user turn is not just that (or there is no prompt)"
    )
    responses: list[str] = Field(min_length=1, description="The policy's responses")


class RewardRequest(BaseModel):
    """Groups to be judged."""

    model_config = STRICT
    groups: list[Group] = Field(min_length=1)


class OpenRlhfRequest(BaseModel):
    """What OpenRLHF posts to `--reward.remote_url`: three lists of equal length."""

    model_config = ConfigDict(strict=True)
    query: list[str] = Field(min_length=1, description="Prompt and response, with the chat template in them")
    prompts: list[str] = Field(description="The prompt alone, as the policy saw it")
    labels: list[str | list[Turn]] = Field(
        description="The instruction; or the conversation that ends with it, for a judge that looks at its context"
    )


def faults(errors: list[Any]) -> tuple[str, str]:
    """Place and reason of the first of pydantic's errors, without the value: it may be a response."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"byte {first['loc'][-1]}", f"the body is no JSON: {first['ctx']['error']}"
    parts = first["loc"][1:]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return place or "body", f"{first['msg'][:1].lower()}{first['msg'][1:]}; /docs shows what is taken"
