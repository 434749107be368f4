#!/usr/bin/env bash
# Which outcome, which alpha, how many models: pools at four alphas, compared.
#
#   experiments/launch/pool_design_alphas.sh runs/alphas
#   experiments/launch/pool_design_alphas.sh runs/alphas --model=mlp --hidden=64
#
# Flags after the folder go to collect_outcomes. NUM_MODELS, NUM_HELDOUT and
# PYTHON may be set in the environment. Writes FOLDER/alpha_A for each alpha, and
# FOLDER/alpha_0.5/pool_design.json with the table of all.
set -euo pipefail

folder=${1:?the folder to write to}
shift
python=${PYTHON:-.venv/bin/python}
others=()
for alpha in 0.1 0.2 0.5 0.75; do
  workdir="$folder/alpha_$alpha"
  "$python" -m experiments.collect_outcomes --workdir="$workdir" \
      --alpha="$alpha" --num_models="${NUM_MODELS:-2000}" \
      --outcomes=soft_margin,margin,log_loss,correctness "$@"
  # For the held-out models: pool_design fits what it compares itself.
  quick="$workdir/datamodels_difference_of_means_test.npz"
  "$python" -m experiments.fit_datamodels --workdir="$workdir" \
      --regressor=difference_of_means
  "$python" -m experiments.evaluate_datamodels --workdir="$workdir" \
      --num_heldout="${NUM_HELDOUT:-500}" --replicates=2 --datamodels="$quick"
  [ "$alpha" = 0.5 ] || others+=("$workdir")
done
"$python" -m experiments.run_application --workdir="$folder/alpha_0.5" \
    --application=pool_design \
    --pool_design_workdirs="$(IFS=,; echo "${others[*]}")"
