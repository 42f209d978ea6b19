"""The template whose slot a masked language model fills, and the words that count: `esfp.json` in a model's folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from open_instruct_flip.errors import UsageError

FILE_NAME = "esfp.json"
FORMAT = 1
PLACES = ("instruction", "response", "explanation", "mask")
TEMPLATE = "Instruction: {instruction}\nResponse: {response}\nReview: {explanation}\nOverall, the response is {mask}."
TEMPLATE_WITHOUT_EXPLANATION = "Instruction: {instruction}\nResponse: {response}\nOverall, the response is {mask}."
MIN_LENGTH = 32
_PLACE = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Slot:
    """A template with one slot, and what may stand in it.

    Attributes:
        template: Text with `{instruction}`, `{response}` and `{mask}` once each, and `{explanation}` at most once.
        positive: Words of a good response, each one token of the model.
        negative: Words of a bad one.
        max_length: Tokens of a filled template; what is longer loses the middles of its parts.

    Raises:
        UsageError: A place is missing, unknown or there twice; no word, or the same on both sides; too short a length.
    """

    template: str = TEMPLATE
    positive: tuple[str, ...] = ("good",)
    negative: tuple[str, ...] = ("bad",)
    max_length: int = 512

    def __post_init__(self) -> None:
        found = _PLACE.findall(self.template)
        faults = [f"lacks {{{p}}}" for p in PLACES if p not in found and p != "explanation"]
        faults += [f"has {{{p}}} {found.count(p)} times" for p in PLACES if found.count(p) > 1]
        faults += [f"has {{{p}}}, which nothing fills" for p in found if p not in PLACES]
        if faults:
            raise UsageError(f"the template {self.template!r:.120} {' and '.join(faults)}")
        if not self.positive or not self.negative or set(self.positive) & set(self.negative):
            raise UsageError(
                "the slot needs positive and negative words, and none that is both; got "
                f"{','.join(self.positive)!r} and {','.join(self.negative)!r}"
            )
        if self.max_length < MIN_LENGTH:
            raise UsageError(f"--max_length is at least {MIN_LENGTH} tokens, got {self.max_length}")

    @property
    def takes_explanation(self) -> bool:
        """Whether the template has a place for an explanation."""
        return "explanation" in _PLACE.findall(self.template)

    def pieces(self) -> list[str]:
        """The template in parts: literal text at even positions, the names of places at odd ones.

        Example:
            >>> Slot("{instruction} / {response}: {mask}").pieces()
            ['', 'instruction', ' / ', 'response', ': ', 'mask', '']
        """
        return _PLACE.split(self.template)


def slot_file(folder: str | Path) -> Path:
    """Where a model's folder says what its slot is."""
    return Path(folder).expanduser() / FILE_NAME


def write_slot(folder: Path, slot: Slot, made_with: Mapping[str, Any]) -> None:
    """Write `esfp.json` beside a model's weights, whose digest it holds; `made_with` is told as it is, for people."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "blake2b").digest())
    about = {"format": FORMAT, **asdict(slot), "weights": digest.hexdigest(), "made_with": dict(made_with)}
    slot_file(folder).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_slot(folder: str | Path) -> Slot:
    """The slot of a model's folder.

    Raises:
        UsageError: There is no such file, it is of another format, or it describes no slot.
    """
    file = slot_file(folder)
    try:
        about = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"--esfp_model {folder} is no folder of an esfp model, {FILE_NAME} can't be read ({error.strerror}); "
            "`flip esfp train` writes one"
        ) from error
    except ValueError as error:
        raise UsageError(f"{file} is no JSON ({error}); train the model again with `flip esfp train`") from error
    made = about.get("format") if isinstance(about, dict) else None
    if made != FORMAT:
        raise UsageError(
            f"{file} is of format {made!r}, this version reads {FORMAT}; train the model again with `flip esfp train`"
        )
    try:
        return Slot(
            str(about["template"]),
            tuple(map(str, about["positive"])),
            tuple(map(str, about["negative"])),
            int(about["max_length"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{file}: {reason}") from error
