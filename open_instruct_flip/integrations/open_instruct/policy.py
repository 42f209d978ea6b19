"""What the policy's chat template writes before the policy does. Imports Open Instruct."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from open_instruct.dataset_transformation import TokenizerConfig
from open_instruct.model_utils import ModelConfig
from open_instruct.utils import ArgumentParserPlus

from open_instruct_flip.thinking import opens_thinking

logger = logging.getLogger(__name__)


def policy_opens_thinking(arguments: Sequence[str]) -> bool | None:
    """Whether the generation prompt of the policy's tokenizer, as Open Instruct sets it up, opens a thinking section.

    Args:
        arguments: Flags of the run, those of Open Instruct's model and tokenizer among them.

    Returns:
        None, after a warning, where the template can't be rendered.
    """
    try:
        return opens_thinking(_generation_prompt(arguments))
    except Exception as error:  # a hub, a tokenizer and a template each raise their own; Open Instruct will tell
        logger.warning(
            "the policy's chat template can't be rendered (%s: %s), so a response counts as thinking only by its own "
            "opening tag; if the template opens the thinking, give --flip_policy_opens_thinking yes",
            *(type(error).__name__, " ".join(str(error).split())[:200]),
        )
        return None


def _generation_prompt(arguments: Sequence[str]) -> str:
    parser = ArgumentParserPlus((TokenizerConfig, ModelConfig), allow_abbrev=False)
    tokenizer, model, _ = parser.parse_args_into_dataclasses(
        args=list(arguments), return_remaining_strings=True, look_for_args_file=False
    )
    # As grpo_fast.make_tokenizer, whose module would import vLLM.
    tokenizer.tokenizer_name_or_path = tokenizer.tokenizer_name_or_path or model.model_name_or_path
    tokenizer.tokenizer_revision = tokenizer.tokenizer_revision or model.model_revision
    turns = [{"role": "user", "content": "Hello"}]
    prompt: str = tokenizer.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return prompt
