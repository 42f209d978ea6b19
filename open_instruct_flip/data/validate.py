"""Checks of a dataset in Open Instruct's RLVR schema, so that a mistake shows before a cluster starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from open_instruct_flip.conversation import Message, Target, check_conversation, hide_instruction
from open_instruct_flip.data.labels import known_labels, labels_of_hidden_instructions, listed, served_labels
from open_instruct_flip.data.prompts import ROLES, conversation_key
from open_instruct_flip.errors import MissingDependencyError, UsageError
from open_instruct_flip.rows.files import Row, read_rows
from open_instruct_flip.rows.shapes import is_encodable
from open_instruct_flip.similarity.f1 import is_scorable
from open_instruct_flip.similarity.measures import UNSPACED_REMEDY
from open_instruct_flip.similarity.scripts import is_unspaced

Severity = Literal["error", "warning"]

COLUMNS = ("messages", "ground_truth", "dataset")


@dataclass(frozen=True)
class DatasetFinding:
    """Something wrong with some rows of a dataset.

    `rows` are numbers from 1 within `source` (line numbers in a JSONL file), empty when the dataset as a whole is
    meant. An "error" costs training rows or their rewards; a "warning" is worth a look.
    """

    kind: str
    severity: Severity
    message: str
    source: str
    rows: tuple[int, ...] = ()


class _Problem(NamedTuple):
    kind: str
    severity: Severity
    message: str


def validate_dataset(
    path_or_name: str | Path,
    *,
    verifier_labels: Iterable[str] | None = None,
    remap_verifier: str | None = None,
    tokenizer: Any = None,
    max_prompt_token_length: int | None = None,
    flip_target: Target = "last_user",
    split: str | None = None,
) -> list[DatasetFinding]:
    """Check one entry of Open Instruct's dataset mixer, row by row.

    Args:
        path_or_name: A JSONL or parquet file, a folder that holds such files, or a hub name.
        verifier_labels: Names of the registered verifiers, compared in lower case as Open Instruct does; None stands
            for Open Instruct's own and the judges of this package's registry.
        remap_verifier: Open Instruct's `--remap_verifier`, "old=new": `old` counts as served.
        tokenizer: The policy's tokenizer, or its name; with `max_prompt_token_length` prompts are measured.
        max_prompt_token_length: Tokens a prompt may have; Open Instruct leaves longer ones out without a word.
        flip_target: What FLIP infers; the ground truth of rows labelled for it has to be exactly that.
        split: Split of a folder or hub dataset, "train" when None.

    Returns:
        Findings, errors first; the same problem of many rows is one finding.

    Raises:
        UsageError: The dataset can't be opened, or the tokenizer has no chat template.
    """
    labels = served_labels(known_labels() if verifier_labels is None else verifier_labels, remap_verifier)
    checker = _Checker(labels, flip_target, _PromptLength.of(tokenizer, max_prompt_token_length))
    report = _Report(str(path_or_name))
    for row in read_rows(path_or_name, split=split):
        report.add(row, checker.problems(row))
    return report.findings()


@dataclass
class _Report:
    """Problems of single rows, gathered into findings."""

    dataset: str
    num_rows: int = 0
    rows: dict[tuple[str, _Problem], list[int]] = field(default_factory=dict)

    def add(self, row: Row, problems: Iterable[_Problem]) -> None:
        self.num_rows += 1
        for problem in problems:
            self.rows.setdefault((row.source, problem), []).append(row.number)

    def findings(self) -> list[DatasetFinding]:
        found = [DatasetFinding(*problem, source, tuple(rows)) for (source, problem), rows in self.rows.items()]
        unspaced = sum(len(f.rows) for f in found if f.kind == "no_spaces")
        if unspaced:
            share = f"{unspaced / self.num_rows:.1%} of the rows: {UNSPACED_REMEDY}"
            found = [replace(f, message=f"{f.message}, {share}") if f.kind == "no_spaces" else f for f in found]
        if not self.num_rows:
            found.append(DatasetFinding("no_rows", "error", "the dataset has no rows", self.dataset))
        elif self.num_rows == sum(len(f.rows) for f in found if f.kind == "long_prompt"):
            found.append(DatasetFinding("nothing_left", "error", "every prompt is too long", self.dataset))
        return sorted(found, key=lambda finding: finding.severity != "error")


@dataclass
class _Checker:
    labels: dict[str, str]
    flip_target: Target
    prompt_length: _PromptLength | None
    hidden: frozenset[str] = field(default_factory=labels_of_hidden_instructions)
    seen: set[bytes] = field(default_factory=set)
    types: dict[str, str] = field(default_factory=dict)

    def problems(self, row: Row) -> Iterator[_Problem]:
        """What is wrong with a row; a fault that makes the later checks senseless ends them."""
        if row.fault:
            yield _Problem("unreadable", "error", row.fault)
            return
        missing = [name for name in COLUMNS if row.columns.get(name) is None]
        if missing:
            yield _Problem("missing_column", "error", f"no value in {', '.join(missing)}")
        yield from self._type_problems(row.columns)
        if "messages" in missing:
            return
        try:
            messages = as_open_instruct_reads(row.columns["messages"])
            check_conversation(messages)
        except UsageError as error:
            yield _Problem("messages", "error", f"messages: {error}")
            return
        yield from self._prompt_problems(messages, trailing=len(row.columns["messages"]) - len(messages))
        if not missing:
            yield from self._label_problems(messages, row.columns["ground_truth"], row.columns["dataset"])

    def _type_problems(self, columns: dict[str, Any]) -> Iterator[_Problem]:
        """Columns have one type in all rows: of a mixture, many versions of `datasets` load nothing at all."""
        for name in COLUMNS:
            if columns.get(name) is not None:
                kind = type(columns[name]).__name__
                first = self.types.setdefault(name, kind)
                if kind != first:
                    yield _Problem("mixed_types", "error", f"{name} is a {kind} here and a {first} in earlier rows")

    def _prompt_problems(self, messages: list[Message], trailing: int) -> Iterator[_Problem]:
        if trailing:
            yield _Problem("trailing_answer", "warning", "ends with an assistant turn, which Open Instruct drops")
        for role in sorted({message["role"] for message in messages} - ROLES):
            yield _Problem("unknown_role", "error", f"a turn has the role {role!r}, expected {listed(ROLES)}")
        if not messages[-1]["content"].strip():
            yield _Problem("empty_instruction", "error", "the last user turn is empty")
        key = conversation_key(messages)
        if key in self.seen:
            yield _Problem("duplicate", "warning", "the same conversation stands in an earlier row")
        self.seen.add(key)
        if not all(is_encodable(message["content"]) for message in messages):
            yield _Problem("surrogate", "error", "a turn has half a surrogate pair, which UTF-8 can't hold")
        elif self.prompt_length:
            yield from self.prompt_length.problems(messages)

    def _label_problems(self, messages: list[Message], truths: Any, labels: Any) -> Iterator[_Problem]:
        if isinstance(labels, str):
            truths, labels = [truths], [labels]
        if not isinstance(labels, list) or not isinstance(truths, list) or len(labels) != len(truths):
            yield _Problem("label_shape", "error", "dataset and ground_truth must be two texts or two lists alike")
            return
        for label, truth in zip(labels, truths, strict=True):
            if not isinstance(label, str):
                yield _Problem("label_shape", "error", f"the label is no text but {type(label).__name__}")
            elif label.lower() not in self.labels:
                yield _Problem("unknown_label", "error", f"no verifier serves the label {label!r}: its reward is 0")
            elif self.labels[label.lower()] in self.hidden:
                yield from self._flip_problems(messages, truth, label)

    def _flip_problems(self, messages: list[Message], truth: Any, label: str) -> Iterator[_Problem]:
        try:
            instruction = hide_instruction(messages, self.flip_target).instruction
        except UsageError as error:
            yield _Problem("no_instruction", "error", str(error))
            return
        turn = "the last user turn" if self.flip_target == "last_user" else "the system prompt"
        if not isinstance(truth, str):
            yield _Problem("ground_truth", "error", f"ground_truth is no text, but {label} compares with {turn}")
        elif truth != instruction:
            yield _Problem("ground_truth", "error", f"ground_truth is not {turn}, which {label} compares with")
        if instruction.strip() and not is_scorable(instruction):
            yield _Problem("no_token", "error", f"{turn} has no word to compare: every F1 is 0")
        if "flip" in self.labels[label.lower()] and is_unspaced(instruction):
            yield _Problem("no_spaces", "warning", f"{turn} is written without spaces between words")


@dataclass(frozen=True)
class _PromptLength:
    tokenizer: Any
    max_tokens: int

    @classmethod
    def of(cls, tokenizer: Any, max_tokens: int | None) -> _PromptLength | None:
        if tokenizer is None or max_tokens is None:
            return None
        if isinstance(tokenizer, (str, Path)):
            tokenizer = load_tokenizer(str(tokenizer))
        if getattr(tokenizer, "chat_template", None) is None:
            raise UsageError("the tokenizer has no chat template, so the length of a prompt is unknown")
        return cls(tokenizer, max_tokens)

    def problems(self, messages: list[Message]) -> Iterator[_Problem]:
        from jinja2 import TemplateError

        try:
            tokens = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        except TemplateError as error:
            yield _Problem("chat_template", "error", f"the chat template refuses the messages: {error}")
            return
        if len(tokens) > self.max_tokens:
            message = f"longer than --max_prompt_token_length {self.max_tokens}: Open Instruct leaves the row out"
            yield _Problem("long_prompt", "warning", message)


def load_tokenizer(name: str) -> Any:
    """A policy's tokenizer by folder or hub name; UsageError when it can't be loaded."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError("a tokenizer needs transformers: pip install transformers") from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"no tokenizer at {name}: {' '.join(str(error).split()):.300}") from error


def as_open_instruct_reads(messages: Any) -> list[Message]:
    """A prompt without the final assistant turn, which `rlvr_tokenize_v3` drops."""
    if not isinstance(messages, list):
        raise UsageError(f"expected a list of turns, got {type(messages).__name__}")
    if len(messages) > 1 and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        return messages[:-1]
    return messages
