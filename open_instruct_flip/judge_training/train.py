"""Trains a judge: TRL's SFTTrainer on a judge's own prompts and replies, measured on held-out pairs meanwhile."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback
from trl import SFTConfig, SFTTrainer

from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line
from open_instruct_flip.hardware import cpu_features
from open_instruct_flip.judge_training.card import Outcome, model_card
from open_instruct_flip.judge_training.config import LINE_UP, JudgeTrainingConfig
from open_instruct_flip.judge_training.folder import CARD, CHECKPOINTS, HELDOUT, JUDGE, training_folder
from open_instruct_flip.judge_training.follow import Follower
from open_instruct_flip.judge_training.heldout_files import changes, write_measured
from open_instruct_flip.judge_training.lessons import IGNORED, NO_ROOM, Lesson, Prompts, fitted, lessons
from open_instruct_flip.judge_training.measures import HeldOut
from open_instruct_flip.judge_training.memory import check_memory
from open_instruct_flip.judge_training.negatives import negatives
from open_instruct_flip.judge_training.order import ByLength
from open_instruct_flip.judge_training.pairs import Draw, Pair, draw_pairs
from open_instruct_flip.rows.files import RowSource


class JudgeTrainer(SFTTrainer):
    """SFTTrainer whose evaluation measures the judge as well; see `SFTTrainer` for the other arguments.

    The vocabulary is scored where a reply stands and nowhere else. TRL does so on GPUs alone; on a CPU all positions
    took two fifths of the time of a small model.
    """

    def __init__(self, *, heldout: HeldOut, heldout_folder: Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.heldout = heldout
        self.heldout_folder = heldout_folder

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        following = inputs["labels"][:, 1:]
        kept = (following != IGNORED).any(0).nonzero()[:, 0]
        prompts = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**prompts, use_cache=False, logits_to_keep=kept)
        # Some architectures pass logits_to_keep over.
        logits = outputs.logits if outputs.logits.shape[1] == len(kept) else outputs.logits[:, kept]
        labels = following[:, kept].flatten()
        loss = cross_entropy(logits.flatten(0, 1).float(), labels, ignore_index=IGNORED, reduction="sum")
        if num_items_in_batch is None:
            loss = loss / (labels != IGNORED).sum()
        else:
            # The items of all processes, over which gradients are averaged.
            loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        output = super().evaluation_loop(*arguments, **options)
        measured = self.heldout.measure(self.model)
        write_measured(self.heldout_folder, self.state.global_step, self.heldout.pairs, measured)
        measures = {f"eval_{name}": value for name, value in measured.means().items()}
        return output._replace(metrics={**(output.metrics or {}), **measures})

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        examples: Any = train_dataset or self.train_dataset
        lengths = [len(ids) for ids in examples["input_ids"]]
        return ByLength(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps, self.args.seed)


@dataclass(frozen=True)
class Base:
    """The model that training starts from, before its weights are loaded."""

    config: Any
    tokenizer: Any
    gpu: bool
    bfloat16: bool


def train_judge(
    data: str,
    config: JudgeTrainingConfig,
    *,
    contaminated: Callable[[str], bool] | None = None,
    benchmarks: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> Outcome:
    """Train a judge on the pairs of a dataset, and write it with its model card to `out/judge`.

    Args:
        data: A file, folder or hub dataset with responses in it.
        config: What is trained, and how.
        contaminated: Whether a text stands in one of `benchmarks`.
        benchmarks: What the pairs are kept away from, for the card.
        say: Takes a line for the user now and then.

    Returns:
        What came of it: the measures before and after, and the trivial baselines.

    Raises:
        UsageError: The data, the base or the folder can't be used, or there is too little memory.
        MissingDependencyError: A package is not installed.
    """
    rows = RowSource.find(data, config.split).rows()
    heldout_rows = RowSource.find(config.heldout_data, config.split).rows() if config.heldout_data else None
    base = _base(config)  # may ask a hub, which takes longer than to see that a file is not there
    prompts = Prompts(base.tokenizer, config)
    draw = draw_pairs(rows, config, contaminated, heldout_rows)
    heldout, taught = _fit(draw, prompts, config)
    examples = lessons(taught, prompts, config.likelihood_share, config.seed)
    longest = max(len(lesson.ids) for lesson in examples)
    check_memory(base.config, config, longest, gpu=base.gpu, bfloat16=base.bfloat16)
    measured = HeldOut(heldout, prompts, config)
    settings = config.settings() | {"data": data, "decontaminated_against": benchmarks, "pairs": draw.digest()}
    out = Path(config.out)
    with training_folder(out, settings, restart=config.restart) as checkpoint:
        _quiet(out, config)
        say(_plan(draw, examples, len(heldout), checkpoint))
        follower = Follower(out, config.seed, settings, say)
        trainer = _trainer(config, base, examples, [prompts.inference(pair) for pair in heldout], measured, follower)
        trainer.args.eval_on_start = checkpoint is None
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        outcome = _outcome(trainer, draw, len(examples), base)
        _save(trainer, base, out / JUDGE, model_card(data, config, benchmarks, outcome))
        shutil.rmtree(out / CHECKPOINTS)
    return outcome


def _base(config: JudgeTrainingConfig) -> Base:
    if not config.full:
        _need("peft", "LoRA", install_line("judge-training"))
    gpu = config.device == "auto" and torch.cuda.is_available()
    if config.packing and not gpu:
        raise UsageError("--packing needs a GPU and flash-attn: without them, packed pairs would see each other")
    if config.packing:
        _need("flash_attn", "--packing", "pip install flash-attn")
    if config.wandb_project:
        _need("wandb", "--wandb_project", install_line("tracking"))
    try:
        # A tokenizer that is not there is looked for twice, with the hub's waits each time.
        model_config = AutoConfig.from_pretrained(config.base)
        tokenizer = AutoTokenizer.from_pretrained(config.base)
    except (OSError, ValueError) as error:
        raise UsageError(f"--base {config.base} is no model: {' '.join(str(error).split()):.300}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Base(model_config, tokenizer, gpu, _bfloat16(config, gpu=gpu))


def _bfloat16(config: JudgeTrainingConfig, *, gpu: bool) -> bool:
    """Whether products are made in bfloat16: where `auto` decides, not where a device would emulate them."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Twice to four times as fast with AMX; avx512_bf16 alone gained nothing, and without it takes 17 times as long.
    return "amx_bf16" in (cpu_features() or ())


def _need(package: str, what: str, remedy: str) -> None:
    if not importlib.util.find_spec(package):
        raise MissingDependencyError(f"{what} needs {package}: {remedy}")


def _fit(draw: Draw, prompts: Prompts, config: JudgeTrainingConfig) -> tuple[list[Pair], list[Pair]]:
    """The held-out pairs and those to train on, negatives among them, as far as they fit the length."""
    train = draw.train + negatives(draw.train, config.negatives, config.seed)
    likelihood = config.likelihood_share > 0
    heldout, taught = (
        [fit for pair in pairs if (fit := fitted(pair, prompts, config.max_length, likelihood=likelihood))]
        for pairs in (draw.heldout, train)
    )
    draw.dropped[NO_ROOM] = len(draw.heldout) + len(train) - len(heldout) - len(taught)
    if len(heldout) < LINE_UP or not taught:
        raise UsageError(
            f"--max_length {config.max_length} holds {len(taught)} pairs to train on and {len(heldout)} to measure on, "
            f"where {LINE_UP} are needed: raise it"
        )
    return heldout, taught


def _plan(draw: Draw, examples: list[Lesson], num_heldout: int, checkpoint: Path | None) -> str:
    left_out = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(draw.dropped.items()) if count)
    tokens = sum(len(lesson.ids) for lesson in examples)
    taken = f"{draw.num_rows} rows: {len(examples)} examples of {tokens:,} tokens, {num_heldout} pairs held out"
    on = f"; goes on from {checkpoint.name}" if checkpoint else ""
    return taken + (f"; left out: {left_out}" if left_out else "") + on


def _quiet(out: Path, config: JudgeTrainingConfig) -> None:
    """Settings that libraries read when they are started."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if config.wandb_project:
        os.environ.setdefault("WANDB_MODE", "online" if os.environ.get("WANDB_API_KEY") else "offline")
        os.environ["WANDB_PROJECT"] = config.wandb_project
        os.environ["WANDB_DIR"] = str(out.resolve())
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    # TRL and transformers each warn of what the other will change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _trainer(
    config: JudgeTrainingConfig,
    base: Base,
    examples: list[Lesson],
    heldout: list[Lesson],
    measured: HeldOut,
    follower: Follower,
) -> JudgeTrainer:
    trainer = JudgeTrainer(
        heldout=measured,
        heldout_folder=Path(config.out) / HELDOUT,
        model=_model(config, base),
        args=_arguments(config, base),
        train_dataset=_dataset(examples),
        eval_dataset=_dataset(heldout),
        processing_class=base.tokenizer,
        peft_config=None if config.full else _adapters(config),
        callbacks=[follower, EarlyStoppingCallback(config.patience)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _model(config: JudgeTrainingConfig, base: Base) -> Any:
    # Adam's small steps are lost in 16-bit weights; adapters have their own in 32. A CPU is slower with weights in 16.
    dtype = torch.bfloat16 if base.gpu and base.bfloat16 and not config.full else torch.float32
    attention = {"attn_implementation": "flash_attention_2"} if config.packing else {}
    return AutoModelForCausalLM.from_pretrained(config.base, dtype=dtype, **attention)


def _adapters(config: JudgeTrainingConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _arguments(config: JudgeTrainingConfig, base: Base) -> SFTConfig:
    arguments = SFTConfig(
        # A run may go on from another working directory, and the best checkpoint is found by its path.
        output_dir=str(Path(config.out).resolve() / CHECKPOINTS),
        run_name=Path(config.out).name,
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.device_batch_size,
        per_device_eval_batch_size=config.device_batch_size,
        gradient_accumulation_steps=config.batch_size // config.device_batch_size,
        learning_rate=config.peak_learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_length=config.max_length,
        packing=config.packing,
        eval_packing=False,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=base.bfloat16,
        use_cpu=not base.gpu,
        dataloader_pin_memory=base.gpu,
        logging_steps=min(10, config.eval_every),
        include_num_input_tokens_seen="non_padding",
        eval_strategy="steps",
        eval_steps=config.eval_every,
        save_strategy="steps",
        save_steps=config.eval_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{config.best_by}",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        report_to=["wandb"] if config.wandb_project else [],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        # All GPUs of one process would be DataParallel's, which splits arguments that are no batch. One trains.
        arguments._n_gpu = 1
    return arguments


def _dataset(examples: list[Lesson]) -> Dataset:
    return Dataset.from_list([lesson.columns() for lesson in examples])


def _outcome(trainer: JudgeTrainer, draw: Draw, num_examples: int, base: Base) -> Outcome:
    figures: dict[int, dict[str, float]] = {
        int(entry["step"]): {name.removeprefix("eval_"): value for name, value in entry.items()}
        for entry in trainer.state.log_history
        if "eval_f1" in entry
    }
    # Where the best checkpoint is gone, the last weights are what there is.
    best = (trainer.state.best_model_checkpoint and trainer.state.best_global_step) or trainer.state.global_step
    return Outcome(
        before=figures[0],
        after=figures[best],
        change=changes(trainer.heldout_folder, 0, best),
        baselines=trainer.heldout.baselines(),
        best_step=best,
        num_steps=trainer.state.global_step,
        num_examples=num_examples,
        num_heldout=len(trainer.heldout.pairs),
        num_rows=draw.num_rows,
        dropped=dict(draw.dropped),
        inferred_by=sorted(draw.inferred_by),
        heldout_inferred_by=sorted(draw.heldout_inferred_by),
        precision="bfloat16" if base.bfloat16 else "float32",
        peak_memory_bytes=_peak_memory(base.gpu),
    )


def _peak_memory(gpu: bool) -> int:
    if gpu:
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _save(trainer: JudgeTrainer, base: Base, folder: Path, card: str) -> None:
    """Write the judge as servers load it, adapters merged; the card, which says that it is whole, comes last."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.to(base.config.dtype or torch.float32).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(card, "utf-8")
