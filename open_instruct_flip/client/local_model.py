"""A language model in this process, for the log-probabilities of given tokens. torch is imported at first use."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_instruct_flip.client.batch_thread import BatchThread
from open_instruct_flip.client.chat_tokens import chat_tokens, common_length, token_texts
from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.client.request import ChatRequest, RequestFailed
from open_instruct_flip.errors import JudgeUnusableError, MissingDependencyError, UsageError, install_line
from open_instruct_flip.rewards import FailureKind

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 4096
"""Tokens of a batch, padding included. A CPU gains nothing beyond."""
BATCH_LOGITS = 2**27
"""Logits of a batch: half a gigabyte in float32."""
MIN_SHARED = 16
"""A shorter prefix is not worth a forward pass of its own."""


@dataclass(frozen=True, slots=True)
class Item:
    """Tokens to read, of which those from `start` on are scored, and who waits for it."""

    ids: list[int]
    start: int
    result: Future[list[float]] = field(default_factory=Future)


def check_model(config: ClientConfig) -> None:
    """Refuse what can't be loaded, before any work: the packages are missing, or the folder is none of a model.

    Raises:
        MissingDependencyError: transformers or torch is not installed.
        UsageError: There is no such folder or hub model, or it holds no tokenizer or no configuration.
    """
    config.endpoints()
    transformers = _transformers()
    name = config.llm_judge_model
    try:
        transformers.AutoConfig.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        where = "folder" if Path(name).exists() else "folder or hub model"
        raise UsageError(f"--llm_judge_model {name} is no {where} of a language model: {reason}") from error
    if not tokenizer.chat_template:
        raise UsageError(f"--llm_judge_model {name} has no chat template; a judge model needs one")


def model_identity(config: ClientConfig) -> str:
    """What tells a model in this process from another one of the same name: its precision, its files or its commit.

    A folder is read for its digest, a second for each GB. The model is one that `check_model` has let pass.
    """
    name = config.llm_judge_model
    if Path(name).is_dir():
        version = f"files {_digest(Path(name))}"
    else:
        version = f"commit {_transformers().AutoConfig.from_pretrained(name)._commit_hash}"
    return f"{name} ({loaded_as(config.judge_dtype, config.judge_device)}, {version})"


def loaded_as(dtype: str, device: str) -> str:
    """The precision that a model is loaded in, as transformers takes it."""
    return "float32" if dtype == "auto" and device == "cpu" else dtype


def _digest(folder: Path) -> str:
    """Of the names and contents of a model's files; what is written about it does not count."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix != ".md":
            digest.update(file.name.encode())
            with file.open("rb") as content:
                hashlib.file_digest(content, lambda: digest)
    return digest.hexdigest()


@lru_cache(maxsize=2)
def local_model(name: str, device: str, dtype: str) -> LocalModel:
    """The model of this process, loaded at its first request and then kept."""
    return LocalModel(name, device, dtype)


class LocalModel(BatchThread[Item]):
    """Reads batches in one thread of its own, so that no event loop waits for it.

    Args:
        name: A local folder, or a name on the hub.
        device: As torch names it.
        dtype: "auto" for float32 on a CPU and as stored elsewhere, or torch's name.
    """

    def __init__(self, name: str, device: str, dtype: str) -> None:
        super().__init__("judge model")
        self._name, self._device, self._dtype = name, device, dtype
        self._model: Any = None
        self._tokenizer: Any = None

    def encode(self, request: ChatRequest) -> Future[tuple[list[int], int, list[str]]]:
        """The ids of a chat with an open last turn, where that starts, and its tokens' texts; see `chat_tokens`."""
        return self.submit(self._encode, request)

    def read(self, ids: list[int], start: int) -> Future[list[float]]:
        """The natural log-probabilities of the tokens from `start` on, each given all before it.

        What is asked for while the thread is busy is read together.
        """
        item = Item(ids, start)
        self.ask(item)
        return item.result

    def _encode(self, request: ChatRequest) -> tuple[list[int], int, list[str]]:
        self._load()
        template = (request.extra_body or {}).get("chat_template_kwargs", {})
        ids, start = chat_tokens(self._tokenizer, request.messages, template)
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) > limit:
            detail = f"the prompt has {len(ids)} tokens, {self._name} reads {limit}"
            raise RequestFailed(FailureKind.CONTEXT_OVERFLOW, detail)
        return ids, start, token_texts(self._tokenizer, ids[start:])

    def _load(self) -> None:
        if self._model is not None:
            return
        transformers = _transformers()
        dtype = loaded_as(self._dtype, self._device)
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._name)
            model = transformers.AutoModelForCausalLM.from_pretrained(self._name, dtype=dtype)
            self._model = model.to(self._device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise JudgeUnusableError(f"{self._name} can't be loaded on {self._device}: {reason}") from error

    def split(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        return batches(items, self._model.config.get_text_config().vocab_size)

    def answer(self, batch: Sequence[Item]) -> list[list[float]]:
        import torch

        with torch.inference_mode():
            shared, cache = self._shared_prefix(batch)
            length = max(len(item.ids) for item in batch) - shared
            ids = torch.zeros((len(batch), length), dtype=torch.long)
            mask = torch.ones((len(batch), shared + length), dtype=torch.long)
            for row, item in enumerate(batch):
                ids[row, : len(item.ids) - shared] = torch.tensor(item.ids[shared:])
                mask[row, len(item.ids) :] = 0
            first = min(item.start for item in batch) - 1 - shared
            logits = self._model(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                use_cache=cache is not None,
                logits_to_keep=length - first,
                **{_cache_name(self._model): cache},
            ).logits[:, first - length :]  # some architectures pass logits_to_keep over
            return [_of_answer(logits[row], item, shared + first) for row, item in enumerate(batch)]

    def _shared_prefix(self, batch: Sequence[Item]) -> tuple[int, Any]:
        """How many tokens all prompts share before any answer, and the model's memory of them, once per prompt."""
        import torch

        ids = batch[0].ids
        shared = min(min(common_length(ids, item.ids), item.start - 1) for item in batch)
        if len(batch) == 1 or shared < MIN_SHARED:
            return 0, None
        prefix = torch.tensor([ids[:shared]], device=self._device)
        cache = self._model(input_ids=prefix, use_cache=True, logits_to_keep=1)[_cache_name(self._model)]
        if not _is_whole(cache):
            return 0, None
        cache.batch_repeat_interleave(len(batch))
        return shared, cache


def batches(items: Sequence[Item], vocabulary: int) -> Iterator[list[Item]]:
    """Items of similar length together, within `BATCH_TOKENS` and `BATCH_LOGITS`; one alone may be larger.

    Example:
        >>> [len(batch) for batch in batches([Item([1] * n, n - 9) for n in (3000, 10, 11, 3000)], 50_000)]
        [2, 1, 1]
    """
    batch: list[Item] = []
    for item in sorted(items, key=lambda item: (len(item.ids), item.start)):
        more = [*batch, item]
        # Sorted by length, the last is the longest.
        kept = len(item.ids) - min(other.start for other in more) + 1
        fits = len(more) * len(item.ids) <= BATCH_TOKENS and len(more) * kept * vocabulary <= BATCH_LOGITS
        if batch and not fits:
            yield batch
            more = [item]
        batch = more
    if batch:
        yield batch


def _of_answer(logits: torch.Tensor, item: Item, first: int) -> list[float]:
    """Log-probabilities of an item's answer from the logits of the positions from `first` on."""
    import torch

    rows = logits[item.start - 1 - first : len(item.ids) - 1 - first].float()
    answer = torch.tensor(item.ids[item.start :], device=logits.device)
    found: list[float] = torch.log_softmax(rows, -1).gather(-1, answer[:, None])[:, 0].tolist()
    return found


def _cache_name(model: Any) -> str:
    # transformers 5.24 renames it.
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _is_whole(cache: Any) -> bool:
    """Whether a model's memory keeps every token: a sliding window or a state can't be gone on with exactly."""
    from transformers.cache_utils import DynamicLayer

    layers = getattr(cache, "layers", ())
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _transformers() -> Any:
    try:
        import torch  # noqa: F401  # only whether it is there
        import transformers
    except ImportError as error:
        raise MissingDependencyError(f"{error}: --judge_transport local needs {install_line('local')}") from error
    return transformers


# A forked process has the model, but not the thread that runs it.
os.register_at_fork(after_in_child=local_model.cache_clear)
