from dataclasses import dataclass
from functools import cached_property

CHAT_TEMPLATES = {
    "tulu": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}<|assistant|>\n",
    "olmo_thinker": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
    ),
}


@dataclass
class TokenizerConfig:
    tokenizer_name_or_path: str | None = None
    tokenizer_revision: str | None = None
    chat_template_name: str | None = None

    @cached_property
    def tokenizer(self):
        from transformers import AutoTokenizer

        if self.tokenizer_name_or_path is None:
            raise ValueError("tokenizer_name_or_path must be set")
        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer_name_or_path)
        if self.chat_template_name in CHAT_TEMPLATES:
            tokenizer.chat_template = CHAT_TEMPLATES[self.chat_template_name]
        return tokenizer
