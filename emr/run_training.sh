#!/usr/bin/env bash
# Train on a cluster that you already have: spark-submit with the settings that a
# measurement needs and a packed Python, so nothing must be installed on the nodes.
#
#   emr/run_training.sh EXECUTORS ENVIRONMENT --config my.yaml [more of elephas_spark.py]
#
# Run it on the primary node, from a copy of this project. ENVIRONMENT is the archive
# that `python -m emr.launch pack` builds, a local path or s3://. What can be set:
#   MASTER            spark:// address; default yarn
#   EXECUTOR_CORES    cores of each executor (3: one node of 4, less one for the system)
#   THREADS           cores of each worker (1: as many workers as cores)
#   EXECUTOR_MEMORY   Java heap of each executor (2g)
#   PYTHON_MEMORY     memory of each executor for TensorFlow, outside the heap (9g)
#   DRIVER_MEMORY     Java heap of the driver (4g)
set -euo pipefail

if [ $# -lt 2 ] || ! [ "$1" -gt 0 ] 2>/dev/null; then
  echo "usage: $0 EXECUTORS ENVIRONMENT --config FILE [...]" >&2
  exit 2
fi
executors=$1
environment=$2
shift 2
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
  --conf "spark.executor.memoryOverhead=${PYTHON_MEMORY:-9g}" \
  --conf "spark.task.cpus=$threads" \
  --conf spark.dynamicAllocation.enabled=false \
  --conf spark.yarn.heterogeneousExecutors.enabled=false \
  --conf spark.speculation=false \
  --conf spark.task.maxFailures=1 \
  "$project/experiments/elephas_spark.py" \
  --set "runner.workers=$((executors * (cores / threads)))" \
  --set "runner.threads_per_worker=$threads" \
  "$@"
