"""Metadata and dependencies of open_instruct_flip; the tools' settings stand in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Trainers, W&B and plotting are extras: the core has to install beside Open Instruct, whatever that pins.
CORE = ["litellm>=1.72", "aiohttp>=3.10", "json-repair>=0.30", "click>=8.1", "rich>=13.0"]
COMPARE = ["matplotlib>=3.8", "numpy>=2.0", "jinja2>=3.1"]
DATA = ["datasets>=3.0", "pyarrow>=15.0", "datasketch>=1.6"]
EVAL = [*COMPARE, *DATA]
TRACKING = ["wandb>=0.31", "wandb-workspaces>=0.4"]
RAY = ["ray[data]>=2.40"]
SIMILARITY = ["sacrebleu>=2.4", "rouge-score>=0.1.2"]
EMBEDDING = ["sentence-transformers>=3.0"]
SERVE = ["vllm>=0.19.1"]
# Without httptools and uvloop, uvicorn serves as well, at one and a half times the CPU time.
UVICORN = ["uvicorn>=0.54", "httptools>=0.6", "uvloop>=0.21; sys_platform != 'win32'"]
REWARD_SERVER = ["fastapi>=0.115", *UVICORN, "prometheus-client>=0.20", "transformers>=4.56"]
TRL = ["torch>=2.10", "transformers>=5.20,<6", "trl>=1.16,<2", "accelerate>=1.10", "peft>=0.21", *DATA]
JUDGE_TRAINING = [*TRL, "psutil>=5.9"]
LOCAL = [*TRL, "transformers[serving]>=5.20,<6", *COMPARE, *TRACKING]
# Of what Open Instruct's HEAD takes, the packages that its launcher and this package meet in, in its own ranges.
OPEN_INSTRUCT = [
    "datasets>=4.0",
    "deepspeed>=0.18.3",
    "litellm>=1.72,<1.75.2",
    "ray[default]>=2.49.2",
    "torch>=2.10",
    "transformers>=5.4",
    "vllm>=0.19.1",
    "wandb==0.23.1",
]
DOCS = ["mkdocs-material>=9.6"]
DEV = [
    "pytest>=8.0",
    "pytest-asyncio>=1.0",
    "hypothesis>=6.100",
    "ruff>=0.14",
    "mypy>=1.15",
    "simpy>=4.1",
    "markdown-it-py>=3.0",
    "setuptools>=77",
    "uv>=0.9",
    *SIMILARITY,
    *REWARD_SERVER,
    *JUDGE_TRAINING,
]

setup(
    name="open-instruct-flip",
    version="0.2.0",
    description="FLIP rewards for Open Instruct: a small judge infers the instruction, token F1 is the reward",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["open_instruct_flip", "open_instruct_flip.*"]),
    package_data={
        "open_instruct_flip": [
            "py.typed",
            "judges/prompts/*.txt",
            "page/*.css",
            "compare/*.j2",
            "eval/attacks/*.json",
            "eval/report/*.j2",
            "eval/report/*.css",
            "eval/report/*.js",
            "local/models/**/*",
        ]
    },
    install_requires=CORE,
    extras_require={
        "compare": COMPARE,
        "data": DATA,
        "eval": EVAL,
        "tracking": TRACKING,
        "ray": RAY,
        "similarity": SIMILARITY,
        "embedding": EMBEDDING,
        "serve": SERVE,
        "reward-server": REWARD_SERVER,
        "trl": TRL,
        "judge-training": JUDGE_TRAINING,
        "local": LOCAL,
        "open-instruct": OPEN_INSTRUCT,
        "docs": DOCS,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["flip=open_instruct_flip.commands.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
