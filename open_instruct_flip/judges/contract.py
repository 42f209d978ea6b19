"""What makes a judge's reply readable: its turn is opened for it, or its JSON forced, or it is read as free text.

Small models write prose where JSON was asked for. A server that can continue an assistant's turn (vLLM) gets that turn
opened up to the value, and the judge writes the value alone. Which contract a server keeps is not assumed: it is tried
once for each judge, client and event loop, with a response of our own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.rewards import FailureKind

logger = logging.getLogger(__name__)

Contract = Literal["prefill", "schema", "free"]
ReplyContract = Literal["auto", "prefill", "schema", "free"]
CONTRACTS: tuple[Contract, ...] = get_args(Contract)
"""The surest first."""

Schema = dict[str, Any]
Try = Callable[[Contract], Awaitable[bool]]
"""Whether a reply under this contract could be read."""


REASONING: Schema = {"reasoning": {"type": "string"}}


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """The JSON object that a judge's reply is.

    Attributes:
        schema: Its properties, in order.
        shown: The object as the prompt shows it, in the place of `{answer}`.
        opening: How the object starts, up to and with what stands before the value.
        stop: What ends the value; the server leaves it out of the reply.
        closing: What completes the object behind the value.

    Example:
        >>> form = ReplyForm({"score": {"type": "integer"}}, '{"score": ...}', '{"score": ', ("}",), "}")
        >>> form.completed("8")
        '{"score": 8}'
        >>> form.with_reasoning().shown
        '{"reasoning": "<one short sentence>", "score": ...}'
    """

    schema: Schema
    shown: str
    opening: str
    stop: tuple[str, ...]
    closing: str

    @classmethod
    def of_text(cls, name: str) -> ReplyForm:
        """An object whose value is free text under a name.

        Example:
            >>> ReplyForm.of_text("instruction").shown
            '{"instruction": "..."}'
        """
        # A quote alone would end the value at a quotation in it.
        stop = ('"}', '",', '"\n', '" }')
        return cls({name: {"type": "string"}}, f'{{"{name}": "..."}}', f'{{"{name}": "', stop, '"}')

    def with_reasoning(self) -> ReplyForm:
        """This object with a sentence of reasoning before the value: only the whole object's end ends the reply."""
        return ReplyForm(
            REASONING | self.schema,
            '{"reasoning": "<one short sentence>", ' + self.shown.removeprefix("{"),
            '{"reasoning": "',
            tuple(stop for stop in self.stop if "}" in stop) or (self.closing,),
            self.closing,
        )

    def completed(self, value: str) -> str:
        """The whole object from what the judge wrote after the opening."""
        return f"{self.opening}{value}{self.closing}"

    def response_format(self) -> dict[str, Any]:
        """An OpenAI `response_format` that forces an object with exactly these properties."""
        body = {
            "type": "object",
            "properties": self.schema,
            "required": list(self.schema),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": body}}


# Tasks belong to their loop, and are gone with it.
_SETTLED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[Contract]]] = WeakKeyDictionary()


async def settled(key: Hashable, name: str, attempt: Try) -> Contract:
    """The first contract that the judge keeps, tried once per key and event loop.

    Raises:
        RequestFailed, JudgeUnusableError: The server could not be asked, or refused; the next call tries again.
    """
    of_loop = _SETTLED.setdefault(asyncio.get_running_loop(), {})
    if key not in of_loop:
        of_loop[key] = asyncio.create_task(_settle(name, attempt))
    task = of_loop[key]
    try:
        return await asyncio.shield(task)
    finally:
        failed = task.done() and (task.cancelled() or task.exception() is not None)
        if failed and of_loop.get(key) is task:
            del of_loop[key]


async def _settle(name: str, attempt: Try) -> Contract:
    for contract in CONTRACTS[:-1]:
        try:
            if await attempt(contract):
                logger.info("%s: its replies are read under the contract %r", name, contract)
                return contract
        except RequestFailed as error:
            if error.kind is not FailureKind.REJECTED:
                raise
            logger.debug("%s: the server takes no contract %r: %s", name, contract, error)
    logger.info("%s: neither an opened turn nor a JSON schema is kept, so its replies are read as free text", name)
    return "free"
