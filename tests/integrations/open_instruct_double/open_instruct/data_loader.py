from dataclasses import dataclass, field


@dataclass
class StreamingDataLoaderConfig:
    num_samples_per_prompt_rollout: int = 4
    dataset_mixer_list: list[str] = field(default_factory=list)
    dataset_mixer_list_splits: list[str] = field(default_factory=lambda: ["train"])
    dataset_mixer_eval_list: list[str] = field(default_factory=list)
    dataset_mixer_eval_list_splits: list[str] = field(default_factory=lambda: ["test"])
    remap_verifier: str | None = None
    verification_reward: float = 10.0
    llm_judge_model: str = "azure/gpt-4o-mini-standard"
    llm_judge_max_tokens: int = 2048
    llm_judge_temperature: float = 1.0
    llm_judge_timeout: int = 60

    def __post_init__(self):
        assert self.num_samples_per_prompt_rollout > 0, "Number of samples per prompt must be greater than 0!"
