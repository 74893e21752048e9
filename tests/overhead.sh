#!/usr/bin/env bash
# What executors cost and what they are worth: microseconds for each candidate of an estimator that
# does nothing, and candidates a second of one that computes, with one and two workers. Not a part
# of run.sh.
#
#   bash tests/overhead.sh [EVALUATIONS]      2000
#
# PLEACH is the program (target/release/pleach), PLUGINS the folder of its plugins, RAY a Python that
# has Ray, SUPERNET the SuperNet's library.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

evaluations=${1:-2000}
pleach=${PLEACH:-target/release/pleach}
plugins=${PLUGINS:-$(dirname "$pleach")}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build --release -p pleach -p pleach-gevonas -p pleach-baselines -p pleach-datasets -p pleach-misbehaving)" >&2; exit 2; }
work=$(mktemp -d "${WHERE:-${TMPDIR:-/tmp}}/pleach-overhead.XXXXXX")
trap 'rm -rf "$work"' EXIT

executors=(local processes '{use: processes, with: {workers: 2}}')
[ -n "${RAY:-}" ] && executors+=("{use: ray, with: {python: $RAY}}" "{use: ray, with: {workers: 2, python: $RAY}}")

# Name of the run, run file, and executor: the median of three runs.
measure() {
  for number in 1 2 3; do
    "$pleach" --plugin-dir "$plugins" run "$2" --dir "$work/$number" --set "executor=$3" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  done
  python3 - "$1" "$3" "$work"/{1,2,3}/events.jsonl <<'PY'
import json, statistics, sys
def rate(path):
    steps = [event for event in map(json.loads, open(path)) if event["event"] == "evaluated"]
    # The first step waits for workers to start, and for what is made at first use.
    steps = steps[2:]
    return sum(event["seconds"] for event in steps) / sum(len(event["candidates"]) for event in steps)
seconds = statistics.median(map(rate, sys.argv[3:]))
print(f"{sys.argv[1]:<10} {sys.argv[2]:<60.60} {seconds * 1e6:>12.1f} us a candidate {1 / seconds:>10.1f} a second", flush=True)
PY
  rm -rf "$work"/{1,2,3}
}

cat >"$work/nothing.yaml" <<YAML
name: nothing
seed: 1
plugins: [baselines, misbehaving]
space: { use: misbehaving/chain, with: { size: 20 } }
estimator: { use: misbehaving/formula }
strategy: { use: baselines/random-search, with: { evaluations: $evaluations, batch: 100, epochs: 0 } }
objectives: { accuracy: maximise }
random_networks: 0
YAML
for executor in "${executors[@]}"; do measure formula "$work/nothing.yaml" "$executor"; done

if [ -n "${SUPERNET:-}" ]; then
  cat >"$work/supernet.yaml" <<YAML
name: supernet
seed: 1
plugins: [gevonas, baselines, datasets, $SUPERNET]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 16, stride: 1 }
    blocks: [{ layers: 3, channels: 16, stride: 2 }, { layers: 3, channels: 32, stride: 2 }, { layers: 3, channels: 64, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k3, mb6_k5]
    head: 128
dataset: { use: datasets/synthetic, with: { size: 32, train: 2000, test: 10, classes: 10 } }
estimator: { use: supernet/weight-sharing, with: { device: cpu, threads: 1, batch: 64, held_out: 500, batch_norm: { recalibration_images: 128 } } }
strategy: { use: baselines/random-search, with: { evaluations: 80, batch: 20, epochs: 0 } }
objectives: { accuracy: maximise }
random_networks: 0
YAML
  for executor in "${executors[@]}"; do measure supernet "$work/supernet.yaml" "$executor"; done
fi
