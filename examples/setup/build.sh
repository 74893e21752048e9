#!/usr/bin/env bash
# Gets libtorch and builds the program with every plugin but those that only tests use. Safe to repeat:
# what is done is not done again.
#   --cuda   gets the libtorch that can use a GPU (5 GB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

torch=()
case "${1:-}" in
  "") ;;
  --cuda) torch=(--cuda) ;;
  *) echo "usage: $0 [--cuda]" >&2; exit 2 ;;
esac

missing=0
need() {
  if ! command -v "$1" >/dev/null; then
    echo "missing: $1 ($2)" >&2
    missing=1
  fi
}
need cargo "Rust: https://rustup.rs"
need python3 "Debian: apt-get install python3 python3-pip"
need c++ "a C++ compiler; Debian: apt-get install g++"
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "this script knows Linux on x86-64; elsewhere set LIBTORCH to a libtorch 2.11.0 and build with cargo" >&2
  missing=1
fi
[ "$missing" = 0 ] || exit 2

bash examples/setup/libtorch.sh "${torch[@]}"
cargo build --release -p pleach -p pleach-baselines -p pleach-datasets -p pleach-gevonas -p pleach-supernet \
  -p pleach-tabular
