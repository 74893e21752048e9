#!/usr/bin/env bash
# A long search on tables: memory, journal, checkpoints and the time to go on, at a tenth of the
# evaluations, at half of them and at all, with the report of each; and two strategies side by side
# at all of them. Not a part of run.sh.
#
#   bash tests/long.sh [EVALUATIONS]     100000; a day's search has 1000000
#
# PLEACH is the program (target/release/pleach), PLUGINS the folder of its plugins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

evaluations=${1:-100000}
pleach=${PLEACH:-target/release/pleach}
plugins=${PLUGINS:-$(dirname "$pleach")}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build --release -p pleach -p pleach-gevonas -p pleach-baselines -p pleach-tabular -p pleach-misbehaving)" >&2; exit 2; }
work=$(mktemp -d "${WHERE:-${TMPDIR:-/tmp}}/pleach-long.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A formula in the place of a table: a space of more than 2^40 networks, no two of which are asked for alike.
cat >"$work/run.yaml" <<'YAML'
name: long
seed: 1
plugins: [baselines, misbehaving]
space: { use: misbehaving/chain, with: { size: 40 } }
estimator: { use: misbehaving/formula }
strategy: { use: baselines/random-search, with: { evaluations: 100000000, batch: 100, epochs: 0 } }
objectives: { accuracy: maximise }
random_networks: 0
YAML

# Seconds and peak memory of a command, and the sizes of files or folders, which come second.
measure() { python3 - "$@" <<'PY'
import os, resource, subprocess, sys, time
name, paths, command = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
begun = time.monotonic()
subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.monotonic() - begun
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
def size(path):
    inside = [os.path.join(place, file) for place, _, files in os.walk(path) for file in files]
    return sum(map(os.path.getsize, inside)) if os.path.isdir(path) else os.path.getsize(path)
sizes = "".join(f"  {os.path.basename(path)} {size(path) / 1e6:.1f} MB" for path in paths)
print(f"{name:<34} {seconds:>8.1f} s  peak {peak:>7.1f} MB{sizes}", flush=True)
PY
}

# Name, run file, budget of so many evaluations: `evaluations`, or `wall_clock` where known networks come
# again, for which a simulated clock alone counts: 149 seconds on average.
grow() {
  local count run
  budget() { if [ "$1" = evaluations ]; then echo "budget.evaluations=$2"; else echo "budget.wall_clock=$((149 * $2))s"; fi; }
  for share in 10 2 1; do
    count=$((evaluations / share)) run=$work/$1-$((evaluations / share))
    measure "$1, $count evaluations" "$run/events.jsonl $run/checkpoints" \
      "$pleach" --plugin-dir "$plugins" run "$2" --dir "$run" --set "$(budget "$3" "$count")"
    measure "  and 1000 more, resumed" "" \
      "$pleach" --plugin-dir "$plugins" resume "$run" --set "$(budget "$3" "$((count + 1000))")"
    measure "  its report" "$run/report.html" "$pleach" report "$run"
  done
}
grow formula "$work/run.yaml" evaluations
table=data/nas-bench-201.csv.gz
if [ -f "$table" ]; then
  # Its 15,625 networks come again and again.
  cat >"$work/table.yaml" <<YAML
name: table
seed: 1
plugins: [gevonas, baselines, tabular]
space: { use: tabular/nas-bench-201 }
estimator: { use: tabular/nas-bench-201, with: { table: $PWD/$table } }
operators: [{ use: gevonas/operation-mutation, with: { rate: 0.0 } }]
strategy:
  use: baselines/regularized-evolution
  with: { epochs: 0, population: 100, sample: 10, evaluations: 100000000, batch: 10, distinct: false }
objectives: { accuracy: maximise }
budget: { clock: simulated, repeats: paid }
random_networks: 0
YAML
  grow table "$work/table.yaml" wall_clock
else
  echo "no $table (docs/benchmark-tables.md): a search on a table is left out"
fi
evolution='{use: baselines/regularized-evolution, with: {evaluations: 100000000, epochs: 0}}'
sed "s|^strategy:.*|strategy: $evolution|; s|^name:.*|name: evolution|; s|^plugins:.*|plugins: [baselines, misbehaving, gevonas]|" \
  "$work/run.yaml" >"$work/evolution.yaml"
echo 'operators: [{ use: gevonas/operation-mutation }]' >>"$work/evolution.yaml"
measure "compared, 2 x $evaluations" "$work/compared" "$pleach" --plugin-dir "$plugins" compare "$work/run.yaml" "$work/evolution.yaml" \
  --seeds 1 --dir "$work/compared" --set "budget.evaluations=$evaluations"
