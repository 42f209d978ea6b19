#!/usr/bin/env bash
# Serve a judge model with vLLM, say when it is ready, and stay until Ctrl-C. Further arguments go to `vllm serve`.
#
#   bash scripts/serve_judge.sh                                        # Qwen3-4B, one GPU, this machine only
#   DATA_PARALLEL=8 HOST=0.0.0.0 bash scripts/serve_judge.sh           # a replica on each of 8 GPUs, for other nodes
#
# Without VLLM_API_KEY the server asks nobody for a key: HOST=0.0.0.0 then belongs in a closed network. With it, train
# with --flip_api_key_env VLLM_API_KEY.
set -euo pipefail

MODEL="${MODEL:-Qwen/Qwen3-4B}"
HOST="${HOST:-127.0.0.1}"
PORT="${PORT:-8001}"
MAX_MODEL_LEN="${MAX_MODEL_LEN:-32768}"        # tokens of the longest judge prompt and its reply
DATA_PARALLEL="${DATA_PARALLEL:-1}"            # replicas, one GPU each
READY_TIMEOUT="${READY_TIMEOUT:-1800}"         # seconds for download, load and warm-up

if ! command -v vllm > /dev/null; then
  echo "error: no vllm command here; install vLLM (https://docs.vllm.ai), or without a GPU: flip serve judge MODEL" >&2
  exit 2
fi

vllm serve "$MODEL" --host "$HOST" --port "$PORT" --max-model-len "$MAX_MODEL_LEN" \
  --data-parallel-size "$DATA_PARALLEL" --enable-prefix-caching "$@" &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

address="$HOST"
if [[ "$HOST" == "0.0.0.0" ]]; then
  address="127.0.0.1"
fi
deadline=$((SECONDS + READY_TIMEOUT))
until curl --silent --fail --output /dev/null "http://$address:$PORT/health"; do
  if ! kill -0 "$server" 2> /dev/null; then
    echo "error: the server of $MODEL ended before it was ready; its output is above" >&2
    exit 1
  fi
  if ((SECONDS >= deadline)); then
    echo "error: $MODEL was not ready within $READY_TIMEOUT s" >&2
    exit 1
  fi
  sleep 1
done
if [[ "$HOST" == "0.0.0.0" ]]; then
  address="$(hostname -f)"
fi
echo "the judge is ready: JUDGE_MODEL=hosted_vllm/$MODEL JUDGE_URLS=http://$address:$PORT/v1"
wait "$server"
