#!/usr/bin/env bash
# Train a policy with FLIP as its reward. Options and variables: --help.
#
#   bash scripts/train/grpo_flip.sh                         # 3 nodes of 8 GPUs, the paper's recipe
#   bash scripts/train/grpo_flip.sh --profile single_gpu    # one GPU
#   bash scripts/train/grpo_flip.sh --profile local         # no GPU, minutes
#   bash scripts/train/grpo_flip.sh --dry_run               # print the command and stop
set -euo pipefail

JUDGE="flip"
LABEL="${LABEL:-general-flip}"
RUN_NAME="${RUN_NAME:-grpo_flip}"

source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
