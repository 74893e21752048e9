#!/usr/bin/env bash
# Builds and passes every test on a bare machine with Rust, Python 3 with pip, and a C++ compiler.
# First everything that needs no libtorch, then libtorch from PyPI, then the rest. The last part
# compares with PyTorch itself, which takes 5 GB under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say() { printf '\n== [%4d s] %s\n' "$SECONDS" "$1"; }

say "tests of everything that needs no libtorch"
# The program itself is no dependency of the tests that drive it.
cargo build -p pleach
cargo test
say "the Python package"
bash tests/python.sh
say "libtorch"
bash examples/setup/libtorch.sh
say "tests of the SuperNet"
cargo build -p pleach-supernet
cargo test -p pleach-supernet
say "end-to-end tests with the SuperNet"
PLEACH_TEST_SUPERNET=1 cargo test -p pleach-tests --test supernet --test training --test export --test latency
say "the forward pass against PyTorch"
bash tests/pytorch.sh
say "all tests passed"
