#!/usr/bin/env bash
# Several processes on this machine, as they would run on several machines.
#
#   experiments/launch/local.sh collect 4 runs/mlp --model=mlp --num_models=5000
#   experiments/launch/local.sh fit 4 runs/mlp
#
# Flags after the folder go to collect_outcomes or fit_datamodels. PYTHON and
# PORT may be set in the environment. Fails if one process fails. On one machine
# a single process is as fast: it uses all devices by itself.
set -euo pipefail

task=${1:?collect or fit}
count=${2:?the number of processes}
workdir=${3:?the folder to write to}
shift 3
python=${PYTHON:-.venv/bin/python}
processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for index in $(seq 0 $((count - 1))); do
  case $task in
    collect)
      "$python" -m experiments.collect_outcomes --workdir="$workdir" \
          --cpu_devices=1 --worker_index="$index" --worker_count="$count" \
          "$@" &
      ;;
    fit)
      "$python" -m experiments.fit_datamodels --workdir="$workdir" \
          --cpu_devices=1 --distributed --num_processes="$count" \
          --process_id="$index" \
          --coordinator_address="127.0.0.1:${PORT:-29500}" "$@" &
      ;;
    *)
      echo "error: collect or fit, got $task" >&2
      exit 2
      ;;
  esac
  processes+=($!)
done
code=0
for process in "${processes[@]}"; do
  wait "$process" || code=$?
done
exit "$code"
