#!/usr/bin/env bash
# Elephas on a Spark cluster of its own within a Slurm allocation, from a checkout that
# the nodes share:
#
#   sbatch --ntasks=4 experiments/slurm/elephas.sh --config my.yaml [more of elephas_spark.py]
#
# Each task is an executor, each of its CPUs a worker with a thread. PYTHON names another
# Python than the checkout's own, HEAP the Java memory of an executor (2g). Nobody else
# can give this cluster work: both sides prove a secret, which is in a file that only you
# can read, until the job ends. Nothing is started again unasked: what was lost goes on
# with --resume.
#SBATCH --job-name=xray-elephas
#SBATCH --ntasks=2 --cpus-per-task=1 --mem-per-cpu=5G
#SBATCH --no-requeue
set -euo pipefail

python=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
heap=${HEAP:-2g}
cores=${SLURM_CPUS_PER_TASK:-1}
host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Jobs of one node do not meet: their numbers differ.
port=$((20000 + SLURM_JOB_ID % 20000))

umask 077
SPARK_CONF_DIR=$(mktemp -d -p "$PWD" .spark-XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$SPARK_CONF_DIR"' EXIT
trap 'exit 143' TERM
cat > "$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.authenticate true
spark.authenticate.secret $(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
spark.driver.host $host
CONF
JAVA_HOME=$("$python" -m xray.java)
export SPARK_CONF_DIR JAVA_HOME PYSPARK_PYTHON="$python"

spark_class=$(dirname "$python")/spark-class
"$spark_class" org.apache.spark.deploy.master.Master --host "$host" --port "$port" \
  --webui-port 0 2> "$SPARK_CONF_DIR/master.log" &
listens() { grep -qs "Starting Spark master at" "$SPARK_CONF_DIR/master.log"; }
for _ in {1..120}; do
  if listens || ! kill -0 $! 2>/dev/null; then break; fi
  sleep 0.5
done
if ! listens; then
  echo "error: Spark's master did not start on $host within a minute:" \
    "$(tail -n 1 "$SPARK_CONF_DIR/master.log")" >&2
  exit 2
fi
# shellcheck disable=SC2016  # the node's name is the node's to tell
srun --ntasks="$SLURM_NTASKS" --cpus-per-task="$cores" bash -c '
  exec "$0" org.apache.spark.deploy.worker.Worker --host "$SLURMD_NODENAME" \
    --webui-port 0 --work-dir "${TMPDIR:-/tmp}/xray-$SLURM_JOB_ID" "$@"' \
  "$spark_class" --cores "$cores" --memory "$heap" \
  "spark://$host:$port" 2> "$SPARK_CONF_DIR/workers.log" &

"$python" experiments/elephas_spark.py "$@" \
  --set runner.master="spark://$host:$port" \
  --set runner.workers=$((SLURM_NTASKS * cores)) \
  --set runner.executor_memory="$heap"
