#!/usr/bin/env bash
# Score a bucket's X-rays with a saved model on a cluster that you already have:
#
#   emr/run_inference.sh EXECUTORS ENVIRONMENT --model s3://BUCKET/models/RUN_last.keras \
#       --images s3://BUCKET/PREFIX/ --out s3://BUCKET/predictions/ [more of predict.py]
#
# Run it on the primary node, from a copy of this project; the same command again goes
# on after an interruption. emr/submit.sh tells what ENVIRONMENT is and which variables
# set cores and memory.
set -euo pipefail

if [ $# -lt 2 ] || ! [ "$1" -gt 0 ] 2>/dev/null; then
  echo "usage: $0 EXECUTORS ENVIRONMENT --model FILE --images PREFIX --out PLACE [...]" >&2
  exit 2
fi
exec "$(dirname "${BASH_SOURCE[0]}")/submit.sh" predict.py 4 "$@"
