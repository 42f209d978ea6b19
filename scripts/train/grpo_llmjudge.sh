#!/usr/bin/env bash
# Train the baseline, whose reward is an LLM judge's score, by the recipe of grpo_flip.sh. Options and variables:
# --help. LABEL=general-quality takes Open Instruct's own judge instead of the paper's.
set -euo pipefail

JUDGE="pointwise"
LABEL="${LABEL:-general-pointwise}"
RUN_NAME="${RUN_NAME:-grpo_llmjudge}"

source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
