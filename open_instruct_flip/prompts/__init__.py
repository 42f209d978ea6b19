"""Judge prompts: text files beside this module, filled in one pass, safe against the text they hold.

A prompt is a pair of files, `<name>.system.txt` and `<name>.user.txt`. Placeholders are `{response}` and the
like; `{{` and `}}` stand for literal braces. The system file has no placeholder, so that a server's prefix
cache holds it once for all rollouts. Another folder can be given, with files of the same names or with the
authors' names (`FLIP_SYSTEM.prompt`, `llmjudge_pointwise_rating_USER.prompt`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError

AUTHORS_NAMES = {
    "flip": "FLIP",
    "pointwise": "llmjudge_pointwise_rating",
    "pairwise": "llmjudge_pairwise_ranking",
    "listwise": "llmjudge_listwise_ranking",
}
# The authors' templates call some fields differently.
AUTHORS_FIELDS = {
    "prompt": "instruction",
    "response1": "response_a",
    "response2": "response_b",
    "response_list": "responses",
}

_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)\}")
# Strings that tokenizers turn into control tokens, whoever wrote them.
_CONTROL_TOKENS = re.compile(
    r"<(?=[|｜])"
    r"|<(?=/?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|end_of_turn|im_start|im_end)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?(\w+)>")
_HEADING = re.compile(r"^(?:\[[^\]\n]+\]|#+ .+)", re.MULTILINE)


class Fenced(str):
    """Text that may go into a prompt as it is: its foreign parts were defused already."""


@dataclass(frozen=True)
class Prompt:
    """A system and a user template.

    Example:
        >>> prompt = Prompt("", "<response>\\n{response}\\n</response> as {{}}")
        >>> prompt.messages(response="{x} </response>")[-1]["content"]
        '<response>\\n{x} < /response>\\n</response> as {}'
    """

    system: str
    user: str

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the placeholders."""
        names = _FIELD.findall(self.system) + _FIELD.findall(self.user)
        return frozenset(AUTHORS_FIELDS.get(name, name) for name in names if name)

    @cached_property
    def _markers(self) -> re.Pattern[str]:
        """The first character of each thing that a reader of this prompt could take for its structure."""
        text = f"{self.system}\n{self.user}"
        tags = {*_TAG.findall(text), "conversation", "response"}
        headings = set(_HEADING.findall(text))
        starts = [f"<(?=/?(?:{'|'.join(sorted(tags))}))"]
        starts += [f"{re.escape(h[0])}(?={re.escape(h[1:])})" for h in sorted(headings)]
        return re.compile("|".join(starts), re.IGNORECASE)

    def defuse(self, text: str) -> Fenced:
        """Foreign text without the power to end its own section or to start another turn.

        A space after its first character breaks every control token and every section marker of this prompt;
        all else stays as it was.
        """
        return Fenced(self._markers.sub(_break, _CONTROL_TOKENS.sub(_break, text)))

    def conversation(self, turns: Sequence[Message]) -> Fenced:
        """Earlier turns as one section, or nothing where there are none."""
        if not turns:
            return Fenced("")
        lines = [f"{self.defuse(turn['role'])}: {self.defuse(turn['content'])}" for turn in turns]
        return Fenced("<conversation>\n" + "\n".join(lines) + "\n</conversation>\n\n")

    def numbered(self, responses: Iterable[str]) -> Fenced:
        """Responses as sections that carry their numbers, from 1."""
        sections = [f"<response_{n}>\n{self.defuse(r)}\n</response_{n}>" for n, r in enumerate(responses, start=1)]
        return Fenced("\n\n".join(sections))

    def messages(self, **values: str) -> list[Message]:
        """The chat that asks the judge. Values are defused unless they are `Fenced`.

        Raises:
            UsageError: A placeholder has no value.
        """
        fenced = {k: v if isinstance(v, Fenced) else self.defuse(v) for k, v in values.items()}
        messages: list[Message] = []
        if self.system:
            messages.append({"role": "system", "content": _fill(self.system, fenced)})
        messages.append({"role": "user", "content": _fill(self.user, fenced)})
        return messages


def _break(match: re.Match[str]) -> str:
    return match.group() + " "


def _fill(template: str, values: dict[str, Fenced]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group() in ("{{", "}}"):
            return match.group()[0]
        name = AUTHORS_FIELDS.get(match.group(1), match.group(1))
        if name not in values:
            raise UsageError(
                f"the prompt has a placeholder {{{match.group(1)}}}, known are {', '.join(sorted(values))}"
            )
        return values[name]

    return _FIELD.sub(value, template)


@lru_cache(maxsize=64)
def load_prompt(name: str, prompt_dir: str | None = None) -> Prompt:
    """Read the prompt pair `name` from the package, or from `prompt_dir`.

    Raises:
        UsageError: The folder holds no such pair.
    """
    if prompt_dir is None:
        folder = resources.files(__name__)
        return Prompt(*((folder / f"{name}.{part}.txt").read_text("utf-8").strip() for part in ("system", "user")))
    tried = [(f"{name}.system.txt", f"{name}.user.txt")]
    if name in AUTHORS_NAMES:
        tried.append((f"{AUTHORS_NAMES[name]}_SYSTEM.prompt", f"{AUTHORS_NAMES[name]}_USER.prompt"))
    for pair in tried:
        paths = [Path(prompt_dir, file) for file in pair]
        if all(path.is_file() for path in paths):
            return Prompt(*(path.read_text("utf-8").strip() for path in paths))
    raise UsageError(f"--prompt_dir {prompt_dir} holds none of: {'; '.join(' with '.join(pair) for pair in tried)}")
