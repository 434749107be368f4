#!/usr/bin/env bash
# The LASSO of all targets on several Slurm nodes at once, one process each.
#
#   sbatch experiments/launch/slurm_fit.sh /shared/runs/mlp
#   sbatch --nodes=8 --gpus-per-node=8 experiments/launch/slurm_fit.sh ...
#
# Submit it from the checkout. JAX reads from Slurm who is who. Flags after the
# folder go to fit_datamodels; PYTHON may be set. If one process is lost all
# end, and the job is to be submitted again.
#SBATCH --job-name=jdm-fit
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=02:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail

workdir=${1:?the folder of the store}
shift
python=${PYTHON:-.venv/bin/python}
exec srun --kill-on-bad-exit=1 "$python" -m experiments.fit_datamodels \
    --workdir="$workdir" --cpu_devices="${SLURM_CPUS_PER_TASK:-1}" \
    --distributed "$@"
