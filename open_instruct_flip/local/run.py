"""A local training run: TRL's GRPOTrainer on a CPU, a real judge server, and the true rate that no judge sees."""

from __future__ import annotations

import asyncio
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_instruct_flip.client.config import HOSTED_VLLM, NEVER_ASKED, ClientConfig
from open_instruct_flip.client.probe import check_endpoints
from open_instruct_flip.errors import MissingDependencyError, UsageError, install_line
from open_instruct_flip.integrations.trl import flip_reward
from open_instruct_flip.judges.base import Judge
from open_instruct_flip.judges.registry import judge_class
from open_instruct_flip.local import world
from open_instruct_flip.local.config import LocalConfig
from open_instruct_flip.local.dataset import read_dataset
from open_instruct_flip.local.interrupts import interruptible
from open_instruct_flip.local.models import TRAINED_FOR, TRAINED_JUDGES, model_path
from open_instruct_flip.local.run_folder import run_folder
from open_instruct_flip.serve.config import ServerConfig
from open_instruct_flip.serve.judge_server import JudgeServer

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import GRPOTrainer

# Beyond this `transformers serve` gains nothing; vLLM would take more, but a step has only 64 requests.
JUDGE_CONCURRENCY = 16
MAX_REPLY_TOKENS = 96
WANDB_GROUP = "local"


@dataclass(frozen=True)
class LocalResult:
    """Where a run lies, and the heldout true rate of its policy before and after."""

    run_dir: Path
    heldout_before: float
    heldout_after: float
    reward_first: float
    reward_last: float


def train_locally(config: LocalConfig) -> LocalResult:
    """Train the local policy against a judge.

    Raises:
        UsageError: The run folder is taken, or a model or dataset is missing or incomplete.
        MissingDependencyError: The packages of the `local` extra are not installed.
        FlipError: The judge server did not start, or stopped answering.
    """
    policy = _model(config.policy_model, "policy")
    train, heldout = read_dataset(Path(config.dataset)) if config.dataset else world.split()
    run_dir = Path(config.out or f"runs/{config.judge}")
    serving = _serving(config, run_dir)  # what can be refused is, before an earlier run is replaced
    with interruptible(), run_folder(run_dir, overwrite=config.overwrite):
        with serving as judge:
            _quiet(run_dir, config)
            trainer, history = _trainer(config, run_dir, policy, judge, train, heldout)
            with history:
                trainer.train()
            # TRL awaits reward functions on a loop of its own, which it never closes.
            asyncio.run_coroutine_threadsafe(judge.aclose(), trainer.async_loop).result()
        trainer.save_model(str(run_dir / "policy"))
    return LocalResult(run_dir, history.heldout[0], history.heldout[-1], history.rewards[0], history.rewards[-1])


def true_rate(prompts: list[Any], completions: list[Any], **_columns: Any) -> list[float]:
    """Share of its instruction's constraints that each completion keeps: logged with weight 0, seen by no judge."""
    return [
        world.true_rate(world.parse(prompt[-1]["content"]), completion[-1]["content"])
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _model(given: str | None, name: str) -> Path:
    if given is None:
        return model_path(name)
    return model_path(Path(given).name, Path(given).parent)


def _serving(config: LocalConfig, run_dir: Path) -> AbstractContextManager[Judge]:
    """The judge, for as long as its server runs: one of its own unless one is given."""
    kind = judge_class(config.judge)
    unasked = kind.from_options(_options(config, kind), NEVER_ASKED)
    if not unasked.asks_model:
        return nullcontext(unasked)
    if kind.runs_in_process and not config.judge_url and not config.vllm_python and config.backend == "transformers":
        # `transformers serve` returns no log-probabilities of a prompt.
        client = ClientConfig(str(_model(config.judge_model, "judge")), judge_transport="local")
        check_endpoints(client)
        return nullcontext(kind.from_options({}, client))
    if not (config.judge_model or config.judge_url or kind.name in TRAINED_JUDGES or kind.runs_in_process):
        raise UsageError(
            f"the judge model that ships knows {', '.join(TRAINED_JUDGES)} and likelihood; "
            f"for --judge {kind.name} give --judge_model, or --judge_url of a server"
        )
    if config.judge_url:
        model = _given_judge(config)
        check_endpoints(_client(model, config.judge_url))
        return nullcontext(_judge_at(config, model, config.judge_url))
    backend = "vllm" if config.vllm_python else config.backend
    settings = ServerConfig(
        port=0, backend=backend, vllm_python=config.vllm_python, device="cpu", max_model_len=1024, start_timeout_s=600.0
    )
    server = JudgeServer(_model(config.judge_model, "judge"), settings, log_path=run_dir / "judge_server.log")
    return _judge_of(config, server)


@contextmanager
def _judge_of(config: LocalConfig, server: JudgeServer) -> Iterator[Judge]:
    with server:
        yield _judge_at(config, server.llm_judge_model, server.api_base)


def _given_judge(config: LocalConfig) -> str:
    """The model's name on a server that runs already: that of its folder."""
    return f"{HOSTED_VLLM}{_model(config.judge_model, 'judge').name}"


def _judge_at(config: LocalConfig, model: str, url: str) -> Judge:
    kind = judge_class(config.judge)
    return kind.from_options(_options(config, kind), _client(model, url))


def _options(config: LocalConfig, kind: type[Judge]) -> dict[str, Any]:
    """What the judge is told of its options; all else stays as it is everywhere."""
    asked = {name: getattr(config, name) for name in TRAINED_FOR} if kind.name in TRAINED_JUDGES else {}
    return asked | kind.own_options({"max_tokens": MAX_REPLY_TOKENS, "esfp_model": config.esfp_model or ""})


def _client(model: str, url: str) -> ClientConfig:
    return ClientConfig(llm_judge_model=model, api_base=url, max_concurrency=JUDGE_CONCURRENCY)


def _quiet(run_dir: Path, config: LocalConfig) -> None:
    """Settings that libraries read when they are imported or started."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_MODE", "online" if os.environ.get("WANDB_API_KEY") else "offline")
    os.environ.setdefault("WANDB_RUN_GROUP", WANDB_GROUP)
    os.environ["WANDB_PROJECT"] = config.wandb_project
    os.environ["WANDB_DIR"] = str(run_dir.resolve())


def _trainer(
    config: LocalConfig, run_dir: Path, policy: Path, judge: Judge, train: list[world.Spec], heldout: list[world.Spec]
) -> tuple[GRPOTrainer, Any]:
    try:
        import torch
        import transformers
        from transformers import AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise MissingDependencyError(f"{error}: local training needs {install_line('local')}") from error
    from open_instruct_flip.local.history import HistoryCallback

    # The judge server has the other core; more threads than cores only wait for each other.
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # TRL and transformers each warn of what the other will change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    arguments = GRPOConfig(
        output_dir=str(run_dir / "trainer"),
        run_name=run_dir.name,
        seed=config.seed,
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=config.num_prompts * config.num_samples,
        num_generations=config.num_samples,
        temperature=config.temperature,
        max_completion_length=config.max_completion_tokens,
        beta=0.0,
        reward_weights=[1.0, 0.0],
        logging_steps=1,
        save_strategy="no",
        report_to=["wandb"],
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        use_vllm=False,
        model_init_kwargs={"dtype": "float32"},
    )
    evaluated = random.Random(0).sample(heldout, min(config.heldout_prompts, len(heldout)))
    history = HistoryCallback(run_dir, config.judge, asdict(config), evaluated, config.eval_every)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    trainer = GRPOTrainer(
        model=str(policy),
        # TRL's type leaves out the asynchronous functions that it takes.
        reward_funcs=[flip_reward(judge, processing_class=tokenizer), true_rate],  # type: ignore[list-item]  # TRL types no async callable
        args=arguments,
        train_dataset=_dataset(train),
        processing_class=tokenizer,
        callbacks=[history],
    )
    history.attach(trainer)
    return trainer, history


def _dataset(specs: list[world.Spec]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": [{"role": "user", "content": world.instruction(s)}]} for s in specs])
