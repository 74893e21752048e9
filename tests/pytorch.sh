#!/usr/bin/env bash
# Compares the SuperNet's and the stand-alone network's forward pass with PyTorch's, for the same
# weights. Gets PyTorch 2.11.0 from PyPI into target/pytorch where it is not there (5 GB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$PWD/target/pytorch/bin/python
if ! "$python" -c 'import torch; assert torch.__version__.startswith("2.11.0")' 2>/dev/null; then
  echo "getting PyTorch 2.11.0 from PyPI"
  mkdir -p target
  rm -rf target/pytorch
  python3 -m venv target/pytorch
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.11.0 numpy
fi
PLEACH_TEST_PYTORCH=$python cargo test -p pleach-supernet pytorch -- --nocapture
