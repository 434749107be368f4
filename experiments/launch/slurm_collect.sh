#!/usr/bin/env bash
# A Slurm array that fills one store, each task its share of the chunks.
#
#   sbatch experiments/launch/slurm_collect.sh /shared/runs/mlp --model=mlp \
#       --num_models=100000
#   sbatch --array=0-63 --gpus-per-task=1 experiments/launch/slurm_collect.sh ...
#
# Submit it from the checkout; the folder is one that all nodes see, or s3://.
# Flags after it go to collect_outcomes; PYTHON may be set. Submit it again,
# with the same or another --array, and what is missing is trained.
#SBATCH --job-name=jdm-collect
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

workdir=${1:?the folder to write to}
shift
python=${PYTHON:-.venv/bin/python}
exec "$python" -m experiments.collect_outcomes --workdir="$workdir" \
    --cpu_devices="${SLURM_CPUS_PER_TASK:-1}" "$@"
