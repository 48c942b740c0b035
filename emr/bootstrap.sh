#!/usr/bin/env bash
# Runs on every node before Spark: unpacks Python and our code into /opt/xray.
#
#   bootstrap.sh s3://bucket/prefix/environment-HASH.tar.gz s3://.../code-HASH.tar.gz
#
# Once a node and cluster; with spark-submit --archives YARN would unpack half a
# gigabyte again for every run, and inside its time.
set -euo pipefail

environment=$1
code=$2
root=${XRAY_ROOT:-/opt/xray}

if ! command -v python3.11 >/dev/null; then
  sudo dnf install --assumeyes --quiet python3.11
fi
if ! mkdir -p "$root" 2>/dev/null || ! test -w "$root"; then
  sudo mkdir -p "$root"
  sudo chown "$(id -u):$(id -g)" "$root"
fi

unpack() { # ARCHIVE FOLDER
  mkdir -p "$2"
  aws s3 cp --only-show-errors "$1" - | tar -xz -C "$2"
}
unpack "$environment" "$root/environment"
unpack "$code" "$root/code"

# The environment has no interpreter of its own: give it this node's.
python=$(readlink -f "$(command -v python3.11)")
ln -sfn "$python" "$root/environment/bin/python"
sed -i "s|^home = .*|home = $(dirname "$python")|" "$root/environment/pyvenv.cfg"

# Executors run as another user, who cannot keep what Python compiles.
"$root/environment/bin/python" -m compileall -q -j 0 "$root" || true
chmod -R a+rX "$root"
"$root/environment/bin/python" -c 'import keras, boto3'
