#!/usr/bin/env bash
# The sequential runner as a Slurm job, from a checkout that the nodes share:
#
#   sbatch experiments/slurm/sequential.sh --config my.yaml [more of sequential.py]
#
# PYTHON names another Python than the checkout's own. Nothing is started again unasked:
# what was lost goes on with --resume.
#SBATCH --job-name=xray-sequential
#SBATCH --ntasks=1 --cpus-per-task=1 --mem=4G
#SBATCH --no-requeue
set -euo pipefail
exec "${PYTHON:-.venv/bin/python}" experiments/sequential.py "$@"
