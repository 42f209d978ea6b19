"""ESFP, this project's reading of it: an explanation, then a masked language model that fills a slot in a template.

The idea is ESFP-RM's (arXiv 2508.18212, of whose method only the abstract is taken: judging is natural language
inference, and a masked language model fills the slot of a template that holds instruction, response and a model's
explanation). Template, words, losses and prompt are this project's own. With the slot's words in the model's folder,

    reward = p(positive words) / (p(positive words) + p(negative words))
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, get_args

from open_instruct_flip.client.client import JudgeClient
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.client.together import together
from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError
from open_instruct_flip.judges.asking import Asked
from open_instruct_flip.judges.base import shared_by_twins
from open_instruct_flip.judges.config import JudgeConfig, ReplyConfig
from open_instruct_flip.judges.esfp.explaining import Explainer
from open_instruct_flip.judges.esfp.filling import told
from open_instruct_flip.judges.esfp.masked_model import masked_model
from open_instruct_flip.judges.esfp.slot import read_slot, slot_file
from open_instruct_flip.judges.shortening import shorten
from open_instruct_flip.rewards import Reward, Usage

Explanation = Literal["auto", "none"]
NOTHING_ASKED: Asked[str] = Asked([""], {}, Usage())


@dataclass(frozen=True)
class EsfpConfig(ReplyConfig):
    """Options of the esfp judge."""

    esfp_model: str = field(default="", metadata={"help": "Folder of the masked language model, of `flip esfp train`"})
    esfp_explanation: Explanation = field(
        default="auto",
        metadata={
            "help": "auto asks the judge model for an explanation where the folder's template has a place for one; "
            "none asks nothing and leaves the place empty"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.esfp_explanation not in get_args(Explanation):
            raise UsageError(
                f"--esfp_explanation is one of {', '.join(get_args(Explanation))}, got {self.esfp_explanation!r}"
            )


class EsfpJudge(Explainer):
    """Reward from a trained masked language model; see `Judge` for the arguments.

    Each distinct response is one request for an explanation, or none, and one forward pass in this process, on a thread
    of its own. Where the explanation fails, so does the reward. Without explanations no judge model is needed.
    """

    name = "esfp"
    config_class = EsfpConfig
    config: EsfpConfig

    def _configure(self, config: JudgeConfig, client: ClientConfig | JudgeClient) -> None:
        assert isinstance(config, EsfpConfig)
        if not config.esfp_model:
            raise UsageError(
                "the esfp judge needs --esfp_model, the folder that `flip esfp train` wrote (for the local profile: "
                "`flip local build-models --only esfp`)"
            )
        self._slot = read_slot(config.esfp_model)
        self.asks_model = self._slot.takes_explanation and config.esfp_explanation == "auto"
        reached = client if isinstance(client, ClientConfig) else client.config
        super()._configure(config, client if self.asks_model else replace(reached, judge_transport="none"))

    def prompt_texts(self) -> tuple[str, ...]:
        return *super().prompt_texts(), slot_file(self.config.esfp_model).read_text("utf-8")

    async def score_group(self, conversation: Sequence[Message], responses: Sequence[str]) -> list[Reward]:
        distinct = list(dict.fromkeys(responses))
        judged = await together(self.score_response(conversation, response) for response in distinct)
        return shared_by_twins(responses, dict(zip(distinct, judged, strict=True)))

    async def score_response(self, conversation: Sequence[Message], response: str) -> Reward:
        """Judge one response."""
        asked = await self.explain(conversation, response) if self.asks_model else NOTHING_ASKED
        if asked.failure:
            return asked.reward()
        instruction = told(conversation)
        shown = shorten(response, self.config.max_response_chars) if self.config.max_response_chars else response
        try:
            read = await together(self._read(instruction, shown, one) for one in asked.readings)
        except RequestFailed as error:
            return replace(asked, failure={"error": error.kind, "detail": error.detail}).reward()
        reward = asked.reward(score=fmean(score for score, _ in read))
        cut = shown != response or any(truncated for _, truncated in read)
        return replace(reward, truncated=reward.truncated or cut)

    async def _read(self, instruction: str, response: str, explanation: str) -> tuple[float, bool]:
        """The slot's reward, and whether a part lost its middle to fit."""
        model = masked_model(self.config.esfp_model, self.client.config.judge_device, self._slot)
        filled = await asyncio.wrap_future(model.fill(instruction, response, explanation))
        return await asyncio.wrap_future(model.read(filled)), filled.truncated
