"""What an HTTP status other than 200 means."""

from __future__ import annotations

import json
import re
from typing import Any

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.errors import JudgeRefusedError, JudgeUnusableError
from open_instruct_flip.rewards import FailureKind


def status_failure(
    status: int, message: str, *, where: str, model: str, retry_after_s: float | None = None
) -> RequestFailed | JudgeUnusableError:
    """The failure that a status stands for, for the caller to raise.

    Args:
        status: The status.
        message: The answer's body, or litellm's words for it.
        where: The endpoint, as messages name it.
        model: The model that was asked for.
        retry_after_s: How long the server asked to wait, or None.

    Returns:
        JudgeRefusedError for no such model or URL, or a wrong key; JudgeUnusableError where the server can't do what
        is asked. Every further request would fare the same.
    """
    said = _said(_LITELLM.sub("", message, count=1) if message.startswith("litellm.") else message)
    text = " ".join(said.split())[:300]
    detail = f"{where} answered {status}: {text}"
    if status in (401, 403):
        return JudgeRefusedError(f"{where} refused the API key ({status}); set the right one, see --api_key_env")
    if status == 404:
        return JudgeRefusedError(f"{where} knows no model {model!r}, or is no /v1 URL (404): {text}")
    if status in (400, 422, 500) and _HOPELESS.match(text):
        return JudgeUnusableError(detail)
    if status in (400, 413) and _is_overflow(said):
        return RequestFailed(FailureKind.CONTEXT_OVERFLOW, detail)
    if status == 408:
        return RequestFailed(FailureKind.TIMEOUT, detail, retryable=True)
    if status == 429:
        return RequestFailed(FailureKind.RATE_LIMITED, detail, retryable=True, retry_after_s=retry_after_s)
    if status in _OF_THE_REQUEST:
        return RequestFailed(FailureKind.REJECTED, detail)
    return RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True, retry_after_s=retry_after_s)


_OF_THE_REQUEST = (400, 413, 422)
"""What else is no success speaks of the server or of the way to it: redirects, 402, 405, 410, 5xx."""
_HOPELESS = re.compile(
    r"Server is pinned to '"  # transformers serve, of another model
    r"|Missing credentials\. "  # OpenAI's client, which litellm uses
    # No prompt_logprobs, which the likelihood judge lives on, says transformers serve, OpenAI, FastAPI, Go's JSON.
    r"|Unexpected fields in the request: \{[\w', ]*'prompt_logprobs'"
    r"|Unrecognized request arguments? supplied: [\w, ]*\bprompt_logprobs\b"
    r"|Unknown parameter: 'prompt_logprobs'"
    r"|(body\.\w+: [^;]*; )*body\.prompt_logprobs: "
    r"|(json: )?unknown field \"?prompt_logprobs\b"
)
"""How an error begins that every further request would meet. Later in the text, the request itself may be echoed."""
_LITELLM = re.compile(r"litellm\.\w+: (\w+: )?\w+Exception (\w+ )?- ")
"""What litellm puts before a provider's own words."""


def _is_overflow(message: str) -> bool:
    text = message.lower()
    return "context length" in text or "context window" in text or "maximum model length" in text or "too long" in text


def _said(text: str) -> str:
    """What an error's body says: its message where it is in OpenAI's or FastAPI's form, else all of it."""
    try:
        body = json.loads(text)
        return str(body["error"]["message"]) if "error" in body else _detail(body["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _detail(detail: Any) -> str:
    """FastAPI's detail; of a failed validation the places and reasons, without the input that it echoes."""
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in detail)
