#!/usr/bin/env bash
# What run_training.sh and run_inference.sh share: spark-submit of one of this project's
# programs with a packed Python, so nothing must be installed on the nodes.
#
#   emr/submit.sh PROGRAM ATTEMPTS EXECUTORS ENVIRONMENT [arguments of PROGRAM]
#
# ATTEMPTS is how often Spark tries a task. Run it on the primary node, from a copy of
# this project. ENVIRONMENT is the archive that `python -m emr.launch pack` builds, a
# local path or s3://. What can be set:
#   MASTER            spark:// address; default yarn
#   EXECUTOR_CORES    cores of each executor (3: one node of 4, less one for the system)
#   THREADS           cores of each worker (1: as many workers as cores)
#   EXECUTOR_MEMORY   Java heap of each executor (2g)
#   PYTHON_MEMORY     memory of each executor for TensorFlow, outside the heap (what
#                     its workers were measured to take: xray/spark/memory.py)
#   DRIVER_MEMORY     Java heap of the driver (4g)
set -euo pipefail

if [ $# -lt 4 ]; then
  echo "usage: $0 PROGRAM ATTEMPTS EXECUTORS ENVIRONMENT [...]" >&2
  exit 2
fi
program=$1
attempts=$2
executors=$3
environment=$4
shift 4
cores=${EXECUTOR_CORES:-3}
threads=${THREADS:-1}
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# YARN unpacks the archive for the executors; the driver, in client mode, needs its own.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
case $environment in
  s3://*) aws s3 cp --only-show-errors "$environment" - | tar -xz -C "$folder" ;;
  *) tar -xz -C "$folder" -f "$environment" ;;
esac

export PYSPARK_DRIVER_PYTHON="$folder/bin/python"
export PYSPARK_PYTHON=./environment/bin/python
export PYTHONPATH="$project${PYTHONPATH:+:$PYTHONPATH}"
spark-submit --master "${MASTER:-yarn}" --deploy-mode client \
  --archives "$environment#environment" \
  --num-executors "$executors" --executor-cores "$cores" \
  --executor-memory "${EXECUTOR_MEMORY:-2g}" --driver-memory "${DRIVER_MEMORY:-4g}" \
  ${PYTHON_MEMORY:+--conf "spark.executor.memoryOverhead=$PYTHON_MEMORY"} \
  --conf "spark.task.cpus=$threads" \
  --conf spark.dynamicAllocation.enabled=false \
  --conf spark.yarn.heterogeneousExecutors.enabled=false \
  --conf spark.speculation=false \
  --conf "spark.task.maxFailures=$attempts" \
  "$project/experiments/$program" \
  --set "runner.workers=$((executors * (cores / threads)))" \
  --set "runner.threads_per_worker=$threads" \
  "$@"
