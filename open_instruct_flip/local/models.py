"""The two tiny models of the local profile: their architectures, their tokenizer, and where the shipped ones lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_instruct_flip.conversation import Message
from open_instruct_flip.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHIPPED = Path(__file__).with_name("models")
TRAINED_JUDGES = ("flip", "pointwise")
TRAINED_FOR: dict[str, Any] = {"reasoning": True, "reply_contract": "free"}
"""How the judge model that ships is asked: its grades need the sentence of reasoning."""
VOCABULARY = 2_048
PAD, END = "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] != 'assistant' or not loop.last or not add_generation_prompt %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# Where a reply starts: `transformers serve` would look for Qwen's marks, and return prompt and reply as one.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {"content": {"close": END, "content": "text"}},
}


def model_path(name: str, models_dir: str | Path | None = None) -> Path:
    """Folder of the "judge" or "policy" that ships with the package, or of one in another folder.

    Raises:
        UsageError: There is no model, or it lacks its tokenizer.
    """
    folder = Path(models_dir or SHIPPED) / name
    for needed in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise UsageError(f"{folder} has no {needed}; build the models with `flip local build-models`")
    return folder


def chat_text(tokenizer: Any, messages: Sequence[Message], *, replies: bool = True) -> str:
    """A chat as a model reads it that replies to it next, or only reads on; a reply that was begun it goes on with."""
    begun = messages[-1]["role"] == "assistant"
    text: str = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=replies and not begun, continue_final_message=begun
    )
    return text


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 2,048 tokens with this profile's chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        model_max_length=1024,
        response_template=RESPONSE_TEMPLATE,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_judge(tokenizer: PreTrainedTokenizerFast) -> Any:
    """An untrained judge: Qwen3, about 0.8 million parameters."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**_shape(tokenizer), num_hidden_layers=3, layer_types=["full_attention"] * 3, head_dim=32)
    return Qwen3ForCausalLM(config)


def new_policy(tokenizer: PreTrainedTokenizerFast) -> Any:
    """An untrained policy: OLMo 3, about 1.0 million parameters."""
    from transformers import Olmo3Config, Olmo3ForCausalLM

    # OLMo 3's own defaults would use its full-size ids and a sliding window.
    config = Olmo3Config(
        **_shape(tokenizer), num_hidden_layers=4, layer_types=["full_attention"] * 4, bos_token_id=None
    )
    return Olmo3ForCausalLM(config)


def _shape(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def save_model(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights as bf16 safetensors with everything that a server and a trainer need to load them."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, do_sample=False
    )
    dtype = model.dtype
    model.to(torch.bfloat16).save_pretrained(folder)
    model.to(dtype)
    tokenizer.save_pretrained(folder)
    _flatten_rope(folder / "config.json")


def _flatten_rope(config_file: Path) -> None:
    """One rotary embedding for all layers, which transformers reads back as the same: older vLLM knows no other way."""
    config = json.loads(config_file.read_text("utf-8"))
    rope = config["rope_parameters"]
    if "full_attention" in rope:
        config["rope_parameters"] = rope["full_attention"]
        config_file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
