#!/usr/bin/env bash
# A long search on tables: memory, journal, checkpoints and the time to go on, at a tenth of the
# evaluations, at half of them and at all. Not a part of run.sh.
#
#   bash tests/long.sh [EVALUATIONS]     100000; a day's search has 1000000
#
# PLEACH is the program (target/release/pleach), PLUGINS the folder of its plugins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

evaluations=${1:-100000}
pleach=${PLEACH:-target/release/pleach}
plugins=${PLUGINS:-$(dirname "$pleach")}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build --release -p pleach -p pleach-gevonas -p pleach-baselines -p pleach-misbehaving)" >&2; exit 2; }
work=$(mktemp -d "${WHERE:-${TMPDIR:-/tmp}}/pleach-long.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A formula in the place of a table: a space of 4^20 networks, no two of which are asked for alike.
cat >"$work/run.yaml" <<'YAML'
name: long
seed: 1
plugins: [baselines, misbehaving]
space: { use: misbehaving/chain, with: { size: 20 } }
estimator: { use: misbehaving/formula }
strategy: { use: baselines/random-search, with: { evaluations: 100000000, batch: 100, epochs: 0 } }
objectives: { accuracy: maximise }
random_networks: 0
YAML

measure() { python3 - "$@" <<'PY'
import json, os, resource, subprocess, sys, time
name, command = sys.argv[1], sys.argv[2:]
begun = time.monotonic()
subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.monotonic() - begun
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
directory = command[command.index("--dir") + 1] if "--dir" in command else command[command.index("resume") + 1]
result = json.load(open(f"{directory}/result.json"))
size = lambda path: sum(os.path.getsize(os.path.join(place, file)) for place, _, files in os.walk(path) for file in files)
journal, checkpoints = size(f"{directory}/events.jsonl") or os.path.getsize(f"{directory}/events.jsonl"), size(f"{directory}/checkpoints")
print(f"{name:<24} {result['evaluations']:>9} evaluations {seconds:>8.1f} s  peak {peak:>7.1f} MB  "
      f"journal {journal / 1e6:>7.1f} MB  checkpoints {checkpoints / 1e6:>7.1f} MB", flush=True)
PY
}

for share in 10 2 1; do
  count=$((evaluations / share))
  measure "from the start" "$pleach" --plugin-dir "$plugins" run "$work/run.yaml" --dir "$work/$count" --set "budget.evaluations=$count"
  measure "going on by 1000" "$pleach" --plugin-dir "$plugins" resume "$work/$count" --set "budget.evaluations=$((count + 1000))"
done
