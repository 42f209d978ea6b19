from dataclasses import dataclass


@dataclass
class ModelConfig:
    model_name_or_path: str | None = None
    model_revision: str | None = None
