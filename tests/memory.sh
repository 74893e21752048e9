#!/usr/bin/env bash
# Searches under valgrind with components from libraries that hold objects of each other: a space, an
# operator that holds it, an estimator that holds it, and a strategy that holds space and operators.
# No invalid access, and no memory that nobody can reach at the end.
#
#   bash tests/memory.sh
#
# PLEACH is the program (target/debug/pleach), PLUGINS the folder of its plugins. Needs valgrind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pleach=${PLEACH:-target/debug/pleach}
plugins=${PLUGINS:-target/debug/deps}
command -v valgrind >/dev/null || { echo "missing: valgrind (apt-get install valgrind)" >&2; exit 2; }
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build -p pleach; cargo test -p pleach-tests --no-run)" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT

cat >"$work/run.yaml" <<'YAML'
name: memory
seed: 1
plugins: [misbehaving, gevonas, tabular, baselines, datasets]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 8, stride: 1 }
    blocks: [{ layers: 2, channels: 8, stride: 1 }, { layers: 2, channels: 16, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 8, train: 40, test: 10, classes: 4 } }
estimator: { use: tabular/nk-landscape }
operators:
  - { use: misbehaving/redraw, weight: 0.3 }
  - { use: gevonas/uniform-crossover, weight: 0.3 }
  - { use: gevonas/operation-mutation, weight: 0.4 }
strategy: { use: baselines/regularized-evolution, with: { population: 10, sample: 3, evaluations: 40, epochs: 1 } }
objectives: { accuracy: maximise }
random_networks: 3
YAML

try() {
  local what=$1
  shift
  printf '== %s\n' "$what"
  # Libraries are never unloaded, and what their statics hold is still reachable: no leak.
  valgrind --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect \
    --errors-for-leak-kinds=definite,indirect --num-callers=30 --suppressions=tests/memory.supp --log-file="$work/valgrind" \
    "$pleach" --plugin-dir "$plugins" "$@" >"$work/output" 2>&1 && code=0 || code=$?
  grep -E 'ERROR SUMMARY|definitely lost|indirectly lost|possibly lost|still reachable' "$work/valgrind" || true
  if [ "$code" -ne "${expected:-0}" ]; then
    echo "FAILED with $code" >&2
    tail -5 "$work/output" >&2
    head -80 "$work/valgrind" >&2
    exit 1
  fi
}

try "a search by regularised evolution" run "$work/run.yaml" --dir "$work/first"
try "a search by G-EvoNAS" run "$work/run.yaml" --dir "$work/second" --set \
  'strategy={use: gevonas/grow-and-prune, with: {population: 6, generations: 2, epochs: {first: 1, later: 1}}}'
try "an estimator that holds a data set of another library" run "$work/run.yaml" --dir "$work/third" \
  --set 'estimator={use: misbehaving/formula}'
expected=3 try "a component that panics in the middle" run "$work/run.yaml" --dir "$work/fourth" \
  --set 'operators=[{use: misbehaving/redraw, with: {badly: "panic:vary"}}]'
echo "no error"
