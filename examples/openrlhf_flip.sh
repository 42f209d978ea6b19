#!/usr/bin/env bash
# GRPO with OpenRLHF on FLIP's rewards. First, in another terminal, a judge and the server that gives its rewards:
#   flip serve judge Qwen/Qwen3-4B
#   flip serve reward --llm_judge_model hosted_vllm/Qwen/Qwen3-4B --api_base http://127.0.0.1:8001/v1 --tokenizer POLICY
# The label column holds the instruction. OpenRLHF can send no key: keep the server on loopback or a private network.
set -euo pipefail

POLICY=${POLICY:?set POLICY to the model to train, the same as the --tokenizer of the reward server}
DATASET=${DATASET:-datasets/general_chat/general_chat_flip}
REWARD_URL=${REWARD_URL:-http://127.0.0.1:8100/get_reward}

exec python -m openrlhf.cli.train_ppo_ray \
    --actor.model_name_or_path "$POLICY" \
    --reward.remote_url "$REWARD_URL" \
    --data.prompt_dataset "$DATASET" \
    --data.input_key messages \
    --data.label_key ground_truth \
    --data.apply_chat_template \
    --algo.advantage.estimator group_norm \
    --rollout.n_samples_per_prompt 8 \
    "$@"
