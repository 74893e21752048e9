#!/usr/bin/env bash
# From a fresh checkout to a network found on CIFAR-10: gets libtorch and CIFAR-10, builds, and
# runs examples/gevonas-cifar10-cpu.yaml. Safe to repeat: what is done is not done again.
#   --cuda   gets the libtorch that can use a GPU (5 GB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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
need npm "Debian: apt-get install npm"
need c++ "a C++ compiler; Debian: apt-get install g++"
need md5sum "Debian: apt-get install coreutils"
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "this script knows Linux on x86-64; elsewhere set LIBTORCH to a libtorch 2.11.0 and build with cargo" >&2
  missing=1
fi
[ "$missing" = 0 ] || exit 2

# Threads that wait spin for nothing on a machine that does something else besides.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
times=()
part() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  times+=("$(printf '%-22s %4d s' "$name" $((SECONDS - start)))")
}
part "libtorch" bash examples/setup/libtorch.sh "${torch[@]}"
# Everything but the plugins that only tests use.
part "build" cargo build --release -p pleach -p pleach-baselines -p pleach-datasets -p pleach-gevonas \
  -p pleach-supernet -p pleach-tabular
part "CIFAR-10" bash examples/setup/cifar10.sh
part "search" target/release/pleach run examples/gevonas-cifar10-cpu.yaml
printf '\nTime of this script:\n'
printf '  %s\n' "${times[@]}"
