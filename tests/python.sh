#!/usr/bin/env bash
# The Python package against the real program. Gets pandas, pytest and TensorBoard from PyPI into
# target/python where they are not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/python_venv.sh
cargo build -p pleach
cargo test --quiet -p pleach-tests --no-run
PLEACH=$PWD/target/debug/pleach PLEACH_PLUGIN_PATH=$PWD/target/debug/deps PYTHONPATH=$PWD/python PYTHONDONTWRITEBYTECODE=1 \
  "$python" -m pytest --quiet -rs -p no:cacheprovider python/tests
