"""Responses that are too long for the judge's context lose their middle, and nothing else of a prompt is ever cut."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from open_instruct_flip.client.request import Completion, RequestFailed
from open_instruct_flip.judges.config import MIN_RESPONSE_CHARS
from open_instruct_flip.rewards import FailureKind, Usage

CUT = "\n[...]\n"
"""Stands where a response's middle was cut out."""


def shorten(response: str, max_chars: int) -> str:
    """A response of about `max_chars` characters at most: its middle is cut, its beginning and its end stay.

    Example:
        >>> shorten("abcdefghij" * 10, 27)
        'abcdefghij\\n[...]\\nabcdefghij'
    """
    if len(response) <= max_chars:
        return response
    kept = max(max_chars - len(CUT), 2) // 2
    return response[:kept] + CUT + response[-kept:]


async def fitted(
    send: Callable[..., Awaitable[Completion]], responses: Sequence[str], max_chars: int
) -> tuple[Completion, list[bool]]:
    """Send responses, again with their middles cut out as far as the judge's context demands.

    Args:
        send: Sends a prompt; called with the shortened responses as its arguments.
        responses: The responses that one prompt shows.
        max_chars: Longer ones are cut before the first attempt; 0 never cuts beforehand.

    Returns:
        The answer, and for each response whether it was shortened.

    Raises:
        RequestFailed: No answer, or an overflow even at `MIN_RESPONSE_CHARS`.
    """
    limit, requests = max_chars or max(map(len, responses)), 0
    while True:
        texts = [shorten(response, limit) for response in responses]
        try:
            completion = await send(*texts)
        except RequestFailed as error:
            error.requests += requests
            requests = error.requests
            longest = max(map(len, texts))
            if error.kind is not FailureKind.CONTEXT_OVERFLOW or longest <= MIN_RESPONSE_CHARS:
                raise
            limit = max(longest // 2, MIN_RESPONSE_CHARS)
        else:
            cut = [text != response for text, response in zip(texts, responses, strict=True)]
            return replace(completion, usage=completion.usage + Usage(requests=requests)), cut
