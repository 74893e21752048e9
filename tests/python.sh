#!/usr/bin/env bash
# The Python package against the real program. Gets pandas and pytest from PyPI into target/python
# where they are not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$PWD/target/python/bin/python
if ! "$python" -c 'import pandas, pytest, setuptools' 2>/dev/null; then
  echo "getting pandas and pytest from PyPI"
  mkdir -p target
  rm -rf target/python
  python3 -m venv target/python
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check 'pandas>=2' 'pytest>=8' 'setuptools>=77'
fi
cargo build -p pleach
cargo test --quiet -p pleach-tests --no-run
PLEACH=$PWD/target/debug/pleach PLEACH_PLUGIN_PATH=$PWD/target/debug/deps PYTHONPATH=$PWD/python PYTHONDONTWRITEBYTECODE=1 \
  "$python" -m pytest --quiet -p no:cacheprovider python/tests
