#!/usr/bin/env bash
# Train on a cluster that you already have, with the settings that a measurement needs:
#
#   emr/run_training.sh EXECUTORS ENVIRONMENT --config my.yaml [more of elephas_spark.py]
#
# Run it on the primary node, from a copy of this project. emr/submit.sh tells what
# ENVIRONMENT is and which variables set cores and memory.
set -euo pipefail

if [ $# -lt 2 ] || ! [ "$1" -gt 0 ] 2>/dev/null; then
  echo "usage: $0 EXECUTORS ENVIRONMENT --config FILE [...]" >&2
  exit 2
fi
# One attempt: a measurement must not hold what was trained twice.
exec "$(dirname "${BASH_SOURCE[0]}")/submit.sh" elephas_spark.py 1 "$@"
