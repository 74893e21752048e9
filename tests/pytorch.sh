#!/usr/bin/env bash
# Compares the SuperNet's and the stand-alone network's forward pass, and proxies without training,
# with PyTorch's, for the same weights; then loads exported networks from Python. Gets PyTorch 2.11.0 from
# PyPI into target/pytorch where it is not there (5 GB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/pytorch_venv.sh
PLEACH_TEST_PYTORCH=$python cargo test -p pleach-supernet pytorch -- --nocapture
# One by one, as tests/run.sh does: packages that are built together have other features.
cargo build --quiet -p pleach
cargo test --quiet --no-run -p pleach-tests --test training
cargo build --quiet -p pleach-supernet
PLEACH_TEST_EXPORTED=1 PLEACH=$PWD/target/debug/pleach PLEACH_PLUGIN_PATH=$PWD/target/debug/deps:$PWD/target/debug \
  PYTHONPATH=$PWD/python PYTHONDONTWRITEBYTECODE=1 \
  "$python" -m pytest --quiet -p no:cacheprovider python/tests/test_exported.py
