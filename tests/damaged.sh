#!/usr/bin/env bash
# Gives damaged copies of a plugin and random files to `pleach plugins list` and `plugins check`, each of
# which must say something of each and not end by it; says what was told of how many.
#
#   bash tests/damaged.sh [COUNT] [SEED]     10,000 files, seed 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build -p pleach
PLEACH_TEST_DAMAGED=${1:-10000} PLEACH_TEST_SEED=${2:-1} \
  cargo test -p pleach-tests --test damaged -- --nocapture
