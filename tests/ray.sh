#!/usr/bin/env bash
# Searches on real Ray clusters: one that pleach starts, and one of several nodes that join and are
# lost. Gets Ray from PyPI into target/ray where it is not there. Not a part of run.sh: Ray takes
# 400 MB and a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$PWD/target/ray/bin/python
if ! "$python" -c 'import ray' 2>/dev/null; then
  echo "getting Ray from PyPI"
  mkdir -p target
  rm -rf target/ray
  python3 -m venv target/ray
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check 'ray==2.*'
fi
cargo build -p pleach
PLEACH_TEST_RAY=$python cargo test -p pleach-tests --test ray -- --nocapture --test-threads 1
