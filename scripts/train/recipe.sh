# The GRPO recipe of arXiv 2602.13551 with today's flags of Open Instruct (v0.3.0 and later). Sourced by grpo_flip.sh
# and grpo_llmjudge.sh, which set JUDGE, LABEL and RUN_NAME.
#
# --help reads its list of variables off the lines below that give one a value.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

usage() {
  cat <<EOF
usage: bash $0 [--profile paper|single_gpu|local] [--dry_run] [FLAG...]

Train with the judge "$JUDGE".

  --profile paper        3 nodes of 8 GPUs, the paper's recipe (the default)
  --profile single_gpu   one GPU
  --profile local        this machine without a GPU: small models, minutes
  --dry_run              print the command and stop
  --help                 print this

Every other FLAG goes to the trainer and wins over the recipe. The trainer's flags: \`flip train --help\`, Open
Instruct's among them where it is installed; those of the local profile: \`flip local train --help\`.

Variables that the environment can set, and their values otherwise:
EOF
  sed -nE -e 's/^  (paper|single_gpu)\)$/  profile \1/p' -e 's/^esac$/  every profile but local/p' \
    -e 's/^ *([A-Z_]+)="\$\{\1:?-(.*)\}" *(# (.*))?$/    \1=\2|\4/p' "$0" "${BASH_SOURCE[0]}" |
    awk -F '|' '{ if (NF > 1 && $2) printf "%-54s %s\n", $1, $2; else print $1 }'
}

PROFILE="${PROFILE:-paper}"
DRY_RUN=""
ARGUMENTS=()
EXPORTS=()
while (($#)); do
  case "$1" in
    --profile)
      if (($# < 2)); then
        echo "error: --profile takes paper, single_gpu or local" >&2
        exit 2
      fi
      PROFILE="$2"
      shift 2
      ;;
    --profile=*) PROFILE="${1#*=}"; shift ;;
    --dry_run) DRY_RUN=1; shift ;;
    -h | --help) usage; exit ;;
    *) ARGUMENTS+=("$1"); shift ;;
  esac
done
set -- ${ARGUMENTS[@]+"${ARGUMENTS[@]}"}

# Set a variable for the trainer, so that a dry run shows it too.
export_variable() {
  export "$1=$2"
  EXPORTS+=("$1=$2")
}

# Print a command with its variables, ready to be pasted, or become it.
run() {
  if [[ -z "$DRY_RUN" ]]; then
    exec "$@"
  fi
  printf '%q ' ${EXPORTS[@]+env "${EXPORTS[@]}"} "$@"
  echo
}

case "$PROFILE" in
  paper)
    NUM_NODES="${NUM_NODES:-3}"
    GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
    NUM_LEARNERS="${NUM_LEARNERS:-8}"                       # GPUs that train; the others generate
    POLICY="${POLICY:-allenai/Olmo-3-7B-Think-DPO}"
    CHAT_TEMPLATE="${CHAT_TEMPLATE-olmo_thinker}"           # empty: the policy's own
    PROMPTS_PER_STEP="${PROMPTS_PER_STEP:-24}"
    SAMPLES_PER_PROMPT="${SAMPLES_PER_PROMPT:-8}"
    PROMPT_LENGTH="${PROMPT_LENGTH:-2048}"                  # tokens
    RESPONSE_LENGTH="${RESPONSE_LENGTH:-16384}"             # tokens
    NUM_ENGINES="${NUM_ENGINES:-$((NUM_NODES * GPUS_PER_NODE - NUM_LEARNERS))}"
    PLACEMENT=(--num_nodes "$NUM_NODES" --num_learners_per_node "$NUM_LEARNERS" --vllm_num_engines "$NUM_ENGINES"
      --deepspeed_stage 3 --backend_timeout 3600)
    ;;
  single_gpu)
    POLICY="${POLICY:-allenai/OLMo-2-0425-1B-Instruct}"
    CHAT_TEMPLATE="${CHAT_TEMPLATE-}"
    PROMPTS_PER_STEP="${PROMPTS_PER_STEP:-8}"
    SAMPLES_PER_PROMPT="${SAMPLES_PER_PROMPT:-8}"
    PROMPT_LENGTH="${PROMPT_LENGTH:-1024}"
    RESPONSE_LENGTH="${RESPONSE_LENGTH:-1024}"
    VLLM_GPU_MEMORY="${VLLM_GPU_MEMORY:-0.3}"               # share of the GPU that generates
    PLACEMENT=(--single_gpu_mode --num_learners_per_node 1 --vllm_num_engines 1 --vllm_sync_backend gloo
      --vllm_gpu_memory_utilization "$VLLM_GPU_MEMORY" --vllm_enforce_eager --deepspeed_stage 2)
    export_variable VLLM_ALLOW_INSECURE_SERIALIZATION 1     # how Open Instruct hands weights over within one GPU
    ;;
  local)
    if [[ -n "$DRY_RUN" ]]; then
      printf '%q ' make -s -C "$ROOT" .venv/ready
      printf '&& '
    else
      make -s -C "$ROOT" .venv/ready
    fi
    run "$ROOT/.venv/bin/flip" local train --judge "$JUDGE" "$@"
    exit
    ;;
  *)
    echo "error: --profile $PROFILE: choose paper, single_gpu or local" >&2
    exit 2
    ;;
esac

DATASET="${DATASET:-data/wildchat_flip}"                    # folder or hub name; `flip data build --out data` makes it
DATASET_LABEL="${DATASET_LABEL:-general-flip}"              # label of its rows
NUM_ROWS="${NUM_ROWS:-1.0}"                                 # a number, or a share such as 1.0
EVAL_DATASET="${EVAL_DATASET:-$DATASET}"
NUM_EVAL_ROWS="${NUM_EVAL_ROWS:-8}"
EPISODES="${EPISODES:-10000000}"
JUDGE_MODEL="${JUDGE_MODEL:-hosted_vllm/Qwen/Qwen3-4B}"
JUDGE_URLS="${JUDGE_URLS:-${HOSTED_VLLM_API_BASE:-http://127.0.0.1:8001/v1}}"   # several: with commas
JUDGE_TIMEOUT="${JUDGE_TIMEOUT:-600}"                       # seconds per request; waiting for a slot does not count
JUDGE_MAX_TOKENS="${JUDGE_MAX_TOKENS:-2048}"
JUDGE_TEMPERATURE="${JUDGE_TEMPERATURE:-1.0}"
LEARNING_RATE="${LEARNING_RATE:-1e-6}"
SEED="${SEED:-1}"
SAVE_EVERY="${SAVE_EVERY:-50}"                              # steps; also for the local evaluation
OUTPUT_DIR="${OUTPUT_DIR:-runs/$RUN_NAME}"
WANDB_PROJECT="${WANDB_PROJECT:-open_instruct_flip}"
WANDB_GROUP="${WANDB_GROUP:-flip_vs_llmjudge}"              # one group, so that the runs' curves overlay
WANDB_ENTITY="${WANDB_ENTITY:-}"
PYTHON="${PYTHON:-}"                                        # interpreter that has Open Instruct's requirements

if [[ -z "$PYTHON" ]]; then
  for candidate in "${OPEN_INSTRUCT_DIR:+$OPEN_INSTRUCT_DIR/.venv/bin/python}" "$ROOT/.venv/bin/python"; do
    if [[ -x "$candidate" ]]; then
      PYTHON="$candidate"
      break
    fi
  done
fi
if [[ -n "$PYTHON" && -z "$DRY_RUN" ]] && ! command -v "$PYTHON" >/dev/null; then
  echo "error: PYTHON=$PYTHON is no program" >&2
  exit 2
fi
# The package is importable from a fresh clone too, so that the launcher can say what is missing.
export_variable PYTHONPATH "$ROOT${PYTHONPATH:+:$PYTHONPATH}"

TRACKING=(--with_tracking --wandb_project "$WANDB_PROJECT" --wandb_group_name "$WANDB_GROUP")
if [[ -z "${WANDB_API_KEY:-}" ]] && ! grep -qs "api.wandb.ai" "${NETRC:-$HOME/.netrc}"; then
  export_variable WANDB_MODE "${WANDB_MODE:-offline}"
  : "${WANDB_ENTITY:=local}"                                # without one, Open Instruct asks W&B's server
fi
if [[ -n "$WANDB_ENTITY" ]]; then
  TRACKING+=(--wandb_entity "$WANDB_ENTITY")
fi

# Open Instruct's own judges (LABEL=general-quality) know a single URL, and find it here.
export_variable HOSTED_VLLM_API_BASE "${JUDGE_URLS%%,*}"

LABELS=()
if [[ "$LABEL" != "$DATASET_LABEL" ]]; then
  LABELS=(--remap_verifier "$DATASET_LABEL=$LABEL")
fi

run "${PYTHON:-python3}" -m open_instruct_flip train \
  --exp_name "$RUN_NAME" \
  --model_name_or_path "$POLICY" \
  ${CHAT_TEMPLATE:+--chat_template_name "$CHAT_TEMPLATE"} \
  --dataset_mixer_list "$DATASET" "$NUM_ROWS" \
  --dataset_mixer_list_splits train \
  --dataset_mixer_eval_list "$EVAL_DATASET" "$NUM_EVAL_ROWS" \
  --dataset_mixer_eval_list_splits train \
  ${LABELS[@]+"${LABELS[@]}"} \
  --max_prompt_token_length "$PROMPT_LENGTH" \
  --response_length "$RESPONSE_LENGTH" \
  --pack_length "$((PROMPT_LENGTH + RESPONSE_LENGTH))" \
  --num_unique_prompts_rollout "$PROMPTS_PER_STEP" \
  --num_samples_per_prompt_rollout "$SAMPLES_PER_PROMPT" \
  --total_episodes "$EPISODES" \
  --async_steps 1 \
  --inflight_updates False \
  --temperature 1.0 \
  --stop_strings "</answer>" \
  --mask_truncated_completions True \
  --non_stop_penalty False \
  --apply_verifiable_reward True \
  --llm_judge_model "$JUDGE_MODEL" \
  --llm_judge_timeout "$JUDGE_TIMEOUT" \
  --llm_judge_max_tokens "$JUDGE_MAX_TOKENS" \
  --llm_judge_max_context_length 25000 \
  --llm_judge_temperature "$JUDGE_TEMPERATURE" \
  --flip_api_base "$JUDGE_URLS" \
  --learning_rate "$LEARNING_RATE" \
  --lr_scheduler_type constant \
  --num_epochs 1 \
  --num_mini_batches 1 \
  --per_device_train_batch_size 1 \
  --beta 0.0 \
  --load_ref_policy False \
  --kl_estimator 2 \
  --clip_higher 0.272 \
  --use_rho_correction True \
  --rho_clamp_upper_bound 2.0 \
  --advantage_normalization_type standard \
  --gradient_checkpointing \
  --vllm_tensor_parallel_size 1 \
  --vllm_enable_prefix_caching \
  "${PLACEMENT[@]}" \
  --seed "$SEED" \
  --local_eval_every "$SAVE_EVERY" \
  --eval_on_step_0 True \
  --save_freq "$SAVE_EVERY" \
  --checkpoint_state_freq "$SAVE_EVERY" \
  --keep_last_n_checkpoints -1 \
  --output_dir "$OUTPUT_DIR" \
  --push_to_hub False \
  "${TRACKING[@]}" \
  "$@"
