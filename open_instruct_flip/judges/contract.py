"""What makes a judge's reply readable: its turn is opened for it, or its JSON forced, or it is read as free text.

Small models write prose where JSON was asked for. A server that can continue an assistant's turn (vLLM) gets that turn
opened up to the value, and the judge writes the value alone. Which contract a server keeps is not assumed: it is tried
once for each judge, client and event loop, with a response of our own.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.judges.reply import UnreadableReply
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
        demand: What the question says of the form where the prompt itself does not show it.
        pattern: A regular expression of the value, forced on an opened turn by servers that know how; "" for free text.

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
    demand: str = ""
    pattern: str = ""

    @classmethod
    def of_text(cls, name: str) -> ReplyForm:
        """An object whose value is free text under a name.

        Example:
            >>> ReplyForm.of_text("instruction").shown
            '{"instruction": "..."}'
        """
        # A quote alone, or one before a comma, would end the value at a quotation in it.
        stop = ('"}', '" }', '"\n', '", "')
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

    def demanded(self, *, is_opened: bool) -> str:
        """What the question ends with where the judge's turn is opened for it, or is not."""
        return self.demand

    def completed(self, value: str, *, is_cut: bool = False) -> str:
        """The whole object from what the judge wrote after the opening.

        Args:
            value: Its words, the stop that ended them left out.
            is_cut: Whether it was not a stop that ended them, but the limit on tokens.

        Raises:
            UnreadableReply: The stop stood in a quotation within the value, of which nobody knows how it goes on.
        """
        whole = f"{self.opening}{value}" if is_cut else f"{self.opening}{value}{self.closing}"
        if not is_cut and whole.count('"') % 2:
            raise UnreadableReply("the reply was ended at a quotation in it", whole)
        return whole

    def unopened(self, reply: str) -> str:
        """A whole reply, as it is to be read."""
        return reply

    def whole(self, reply: str, *, is_opened: bool, is_cut: bool = False) -> str:
        """A reply as it is to be read, from what the judge wrote after the opening where there was one.

        Raises:
            UnreadableReply: As `completed`; or it was cut off at a number, which may go on.
        """
        if is_opened:
            return self.completed(reply, is_cut=is_cut)
        if is_cut and self._holds_numbers() and reply.rstrip().rstrip(".")[-1:].isdigit():
            raise UnreadableReply("the reply was cut off at a number, which may go on", reply)
        return self.unopened(reply)

    def _holds_numbers(self) -> bool:
        """Whether the verdict, which is the last property, is a number or a list of them."""
        return list(self.schema.values())[-1].get("type") in ("integer", "number", "array")

    def written(self, value: str) -> str:
        """The turn of a judge that says this value, as its opening begins it."""
        return f"{self.opening}{json.dumps(_with_single_quotes(value), ensure_ascii=False)[1:-1]}{self.closing}"

    def response_format(self) -> dict[str, Any]:
        """An OpenAI `response_format` that forces an object with exactly these properties."""
        body = {
            "type": "object",
            "properties": self.schema,
            "required": list(self.schema),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": body}}


class LineForm(ReplyForm):
    """A line of plain text where the judge's turn can be opened for it, and the JSON object elsewhere.

    Small models that are to go on with JSON write about JSON; a sentence of plain words that was begun for them they
    end. Nothing in a line has to be escaped, and no quotation ends it. An opening that ends with a quotation mark keeps
    them from beginning with an empty line.

    Example:
        >>> LineForm.of_line("instruction", "The request was:").completed(' Define "soil".')
        '{"instruction": "Define \\\\"soil\\\\"."}'
    """

    @classmethod
    def of_line(cls, name: str, opening: str) -> LineForm:
        """A line that begins with `opening`, or an object whose value is free text under a name."""
        form = ReplyForm.of_text(name)
        return cls(form.schema, form.shown, opening, ("\n",), "", _answer_as(form.shown))

    def with_reasoning(self) -> ReplyForm:
        """The object with a sentence of reasoning before the value; a line has no place for that."""
        form = ReplyForm.of_text(next(iter(self.schema))).with_reasoning()
        return replace(form, demand=_answer_as(form.shown))

    def completed(self, value: str, *, is_cut: bool = False) -> str:
        """The object that says what the line says, without the quotation mark that ends what the opening began."""
        line = value.strip()
        if self.opening.endswith('"') and line.count('"') % 2 and not is_cut:
            line = line[: line.rindex('"')]
        return json.dumps({next(iter(self.schema)): line}, ensure_ascii=False)

    def demanded(self, *, is_opened: bool) -> str:
        """The object, unless the line is opened."""
        return "" if is_opened else self.demand

    def unopened(self, reply: str) -> str:
        """A whole reply: the object, or nothing but the line, which a judge that was trained to may open itself."""
        line = reply.strip()
        is_line = line.startswith(self.opening) and "\n" not in line
        return self.completed(line.removeprefix(self.opening)) if is_line else reply

    def written(self, value: str) -> str:
        """The line that says this value."""
        line = " ".join(_with_single_quotes(value).split())
        return f'{self.opening}{line}"' if self.opening.endswith('"') else f"{self.opening} {line}"


# Asked for with every judgement.
@lru_cache(maxsize=64)
def text_form(name: str, opening: str) -> ReplyForm:
    """Of free text under a name: a line that begins with `opening`, or the object alone where there is none."""
    return LineForm.of_line(name, opening) if opening else ReplyForm.of_text(name)


def _with_single_quotes(value: str) -> str:
    """A text in which nothing looks like its end; token F1 does not tell the two kinds of quotation marks apart."""
    return value.replace('"', "'")


def _answer_as(shown: str) -> str:
    return f"\n\nAnswer as {shown}"


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
        of_loop[key].add_done_callback(partial(_forget_failure, of_loop, key))
    return await asyncio.shield(of_loop[key])


def _forget_failure(
    of_loop: dict[Hashable, asyncio.Task[Contract]], key: Hashable, task: asyncio.Task[Contract]
) -> None:
    """Also where nobody waits for it any more: the next to ask is not to get the failure of long ago."""
    if task.cancelled() or task.exception() is not None:
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
