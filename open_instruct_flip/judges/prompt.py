"""Judge prompts: text files in `prompts/`, filled in one pass, safe against the text they hold.

A prompt is a pair of files, `<name>.system.txt` and `<name>.user.txt`. Placeholders are `{response}` and the
like; `{{` and `}}` stand for literal braces. `{answer}` is the JSON object that the reply is to be. The system file
holds nothing of a rollout, so that a server's prefix cache holds it once for all of them. `<name>.opening.txt` begins
the judge's line where its turn can be opened; `<name>.again.user.txt`, with an opening of its own, asks a second time.
Another folder can be given, with files of the same names or with the authors' names (`FLIP_SYSTEM.prompt`, ...). Where
a template has no `{conversation}`, as none of the authors' has, earlier turns stand before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.similarity.copying import stands_in

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
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
    r"|<(?=\w+\|>)"  # Gemma 4 ends its turns with <turn|>
    r"|<(?=/?(?:seed|minimax):\w+>)"  # Seed-OSS, MiniMax
    r"|\](?=~!?b[\[\]])|\[(?=e~\[)"  # MiniMax
    r"|\[(?=gMASK\])|<(?=(?:sop|eop)>)",  # GLM
    re.IGNORECASE,
)
_TAG = re.compile(r"</?(\w+)>")
_HEADING = re.compile(r"^(?:\[[^\]\n]+\]|#+ .+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptFiles:
    """Which pair of files a judge's prompt is.

    Attributes:
        name: The pair is `<name>.system.txt` and `<name>.user.txt`.
        placeholders: What the templates must have. They may have `{conversation}` and `{answer}` as well, and no other.
        authors_name: The authors' pair is `<authors_name>_SYSTEM.prompt` and `<authors_name>_USER.prompt`.
    """

    name: str
    placeholders: frozenset[str]
    authors_name: str | None = None

    def pairs(self) -> list[tuple[str, str]]:
        """Names of the files to look for, the first that is there counts."""
        theirs = [(f"{self.authors_name}_SYSTEM.prompt", f"{self.authors_name}_USER.prompt")]
        return [(f"{self.name}.system.txt", f"{self.name}.user.txt"), *(theirs if self.authors_name else [])]


class Fenced(str):
    """Text that may go into a prompt as it is: its foreign parts were defused already."""


@dataclass(frozen=True)
class PromptTemplate:
    """A system and a user template.

    Attributes:
        opening: How the judge's reply begins, where it is a line of plain text and its turn can be opened for it;
            nothing where the reply is a JSON object throughout.
        again: The prompt in other words, for a question whose opened line could not be read; None where there is none.

    Example:
        >>> prompt = PromptTemplate("", "<response>\\n{response}\\n</response> as {{}}")
        >>> prompt.messages(response="{x} </response>")[-1]["content"]
        '<response>\\n{x} < /response>\\n</response> as {}'
    """

    system: str
    user: str
    opening: str = ""
    again: PromptTemplate | None = None

    def texts(self) -> tuple[str, ...]:
        """All that the judge is shown of this prompt."""
        own = (self.system, self.user, *filter(None, [self.opening]))
        return own if self.again is None else (*own, *self.again.texts())

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the placeholders."""
        names = _FIELD.findall(self.system) + _FIELD.findall(self.user)
        return frozenset(AUTHORS_FIELDS.get(name, name) for name in names if name)

    @cached_property
    def first_number(self) -> int:
        """Number of the first of several responses: 0 in the authors' listwise template, which asks for an index."""
        return 0 if "{response_list}" in self.user else 1

    def is_recited(self, text: str) -> bool:
        """Whether a text of at least 5 words is a piece of this prompt: a worked example, or what it asks."""
        is_own = any(stands_in(text, section) for section in self._sections)
        return is_own or (self.again is not None and self.again.is_recited(text))

    @cached_property
    def _sections(self) -> tuple[str, ...]:
        """What the templates say themselves, before, between and behind what they are filled with."""
        plain = (template.replace("{{", " ").replace("}}", " ") for template in (self.system, self.user))
        return tuple(section for template in plain for section in _FIELD.sub("\0", template).split("\0"))

    @cached_property
    def _markers(self) -> re.Pattern[str]:
        """The first character of each thing that a reader of this prompt could take for its structure."""
        text = f"{self.system}\n{self.user}"
        tags = {*_TAG.findall(text), "conversation", "response"}
        headings = set(_HEADING.findall(text))
        # A reader takes `</ response >` for the end of a section, too.
        starts = [rf"<(?=(?:/\s*)?(?:{'|'.join(sorted(tags))}))"]
        starts += [f"{re.escape(h[0])}(?={re.escape(h[1:])})" for h in sorted(headings)]
        return re.compile("|".join(starts), re.IGNORECASE)

    def defuse(self, text: str) -> Fenced:
        """Foreign text without the power to end its own section or to start another turn.

        A space after its first character breaks every control token and every section marker of this prompt, and a
        lone surrogate, which servers choke on, becomes a question mark; all else stays as it was.
        """
        text = text.encode("utf-8", "replace").decode()
        return Fenced(self._markers.sub(_break, _CONTROL_TOKENS.sub(_break, text)))

    def conversation(self, turns: Sequence[Message]) -> Fenced:
        """Earlier turns as one section, or nothing where there are none."""
        if not turns:
            return Fenced("")
        lines = [f"{self.defuse(turn['role'])}: {self.defuse(turn['content'])}" for turn in turns]
        return Fenced("<conversation>\n" + "\n".join(lines) + "\n</conversation>\n\n")

    def numbered(self, responses: Iterable[str]) -> Fenced:
        """Responses as sections that carry their numbers, from `first_number`."""
        numbered = enumerate(responses, start=self.first_number)
        sections = [f"<response_{n}>\n{self.defuse(r)}\n</response_{n}>" for n, r in numbered]
        return Fenced("\n\n".join(sections))

    def messages(self, **values: str) -> list[Message]:
        """The chat that asks the judge. Values are defused unless they are `Fenced`.

        A `conversation` that the templates have no place for stands before the user template: without it the judge
        would not know what was said before.

        Raises:
            UsageError: A placeholder has no value.
        """
        fenced = {k: v if isinstance(v, Fenced) else self.defuse(v) for k, v in values.items()}
        messages: list[Message] = []
        if self.system:
            messages.append({"role": "system", "content": _fill(self.system, fenced)})
        before = "" if "conversation" in self.fields else fenced.get("conversation", "")
        messages.append({"role": "user", "content": before + _fill(self.user, fenced)})
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
def load_prompt(files: PromptFiles, prompt_dir: str | None = None) -> PromptTemplate:
    """Read a prompt from the package, or from `prompt_dir`.

    Raises:
        UsageError: The folder holds no such pair, a file is no UTF-8 text, or a placeholder is missing or unknown.
    """
    shipped: Traversable = resources.files("open_instruct_flip.judges") / "prompts"
    folder = shipped if prompt_dir is None else Path(prompt_dir).expanduser()
    for pair in files.pairs():
        if all((folder / file).is_file() for file in pair):
            system, user = (_read(folder / file) for file in pair)
            opening = _read_if_there(folder / f"{files.name}.opening.txt")
            prompt = PromptTemplate(system, user, opening, _load_again(folder, files, system))
            _check_placeholders(prompt, files, f"{folder / pair[1]}")
            return prompt
    wanted = "; ".join(" with ".join(pair) for pair in files.pairs())
    raise UsageError(f"--prompt_dir {folder} holds none of: {wanted}")


def _load_again(folder: Traversable, files: PromptFiles, system: str) -> PromptTemplate | None:
    """The question in other words, under the same system prompt."""
    file = folder / f"{files.name}.again.user.txt"
    if not file.is_file():
        return None
    again = PromptTemplate(system, _read(file), _read_if_there(folder / f"{files.name}.again.opening.txt"))
    _check_placeholders(again, files, f"{file}")
    return again


def _read_if_there(file: Traversable) -> str:
    return _read(file) if file.is_file() else ""


def _read(file: Traversable) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt {file} can't be read as UTF-8 text: {error}") from error


def _check_placeholders(prompt: PromptTemplate, files: PromptFiles, place: str) -> None:
    missing, unknown = (
        files.placeholders - prompt.fields,
        prompt.fields - files.placeholders - {"conversation", "answer"},
    )
    if missing or unknown:
        faults = [f"lacks {{{field}}}" for field in sorted(missing)]
        faults += [f"has {{{field}}}, which this judge does not fill" for field in sorted(unknown)]
        raise UsageError(f"the prompt {place} {' and '.join(faults)}; literal braces are written {{{{ and }}}}")
