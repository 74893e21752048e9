#!/usr/bin/env bash
# From a fresh checkout to a network found on CIFAR-10: gets libtorch and CIFAR-10, builds, and
# runs examples/gevonas-cifar10-cpu.yaml. Safe to repeat: what is done is not done again.
#   --cuda   gets the libtorch that can use a GPU (5 GB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  "" | --cuda) ;;
  *) echo "usage: $0 [--cuda]" >&2; exit 2 ;;
esac
for program in npm md5sum; do
  command -v "$program" >/dev/null || { echo "missing: $program (Debian: apt-get install npm coreutils)" >&2; exit 2; }
done

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
part "libtorch and build" bash examples/setup/build.sh "$@"
part "CIFAR-10" bash examples/setup/cifar10.sh
part "search" target/release/pleach run examples/gevonas-cifar10-cpu.yaml
printf '\nTime of this script:\n'
printf '  %s\n' "${times[@]}"
