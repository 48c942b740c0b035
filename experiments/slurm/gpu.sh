#!/usr/bin/env bash
# The GPU runner as a Slurm job, from a checkout that the nodes share (`make gpu`):
#
#   sbatch experiments/slurm/gpu.sh --config my.yaml [more of gpu.py]
#
# PYTHON names another Python than the checkout's own. Nothing is started again unasked:
# what was lost goes on with --resume.
#SBATCH --job-name=xray-gpu
#SBATCH --ntasks=1 --cpus-per-task=4 --mem=16G
#SBATCH --gres=gpu:1
#SBATCH --no-requeue
set -euo pipefail
exec "${PYTHON:-.venv/bin/python}" experiments/gpu.py "$@"
