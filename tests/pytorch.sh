#!/usr/bin/env bash
# Compares the SuperNet's and the stand-alone network's forward pass, and proxies without training,
# with PyTorch's, for the same weights. Gets PyTorch 2.11.0 from PyPI into target/pytorch where it is not there (5 GB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/pytorch_venv.sh
PLEACH_TEST_PYTORCH=$python cargo test -p pleach-supernet pytorch -- --nocapture
