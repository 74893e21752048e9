#!/usr/bin/env bash
# Reports of real runs in headless Chromium: what is on the page, what can be done with it, that
# nothing leaves it, and how long it takes to open after 100,000 evaluations. Pictures at 360, 1280
# and 2560 pixels, light and dark, are left in target/report/. Not a part of run.sh: it takes
# minutes and a browser.
#
#   bash tests/report.sh [RUN...]         run directories to look at too
#
# PLEACH is the program (target/debug/pleach), PLUGINS the folder of its plugins beside
# target/debug/deps, CHROMIUM the browser. Playwright is fetched from PyPI into target/report-venv.
# Searches on a SuperNet where its plugin lies beside the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

pleach=${PLEACH:-target/debug/pleach}
plugins=${PLUGINS:-target/debug/deps}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build -p pleach; cargo test -p pleach-tests --no-run)" >&2; exit 2; }
source tests/chromium.sh

say() { printf '\n== [%4d s] %s\n' "$SECONDS" "$1"; }

shots=$PWD/target/report
mkdir -p "$shots"
work=$(mktemp -d)
server=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
run() { "$pleach" --plugin-dir "$plugins" run "$@" >"$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }; }
browse() { "$playwright" tests/report.py "$@" --shots "$shots" --chromium "$chromium"; }

cat >"$work/large.yaml" <<'YAML'
name: large
seed: 3
plugins: [gevonas, baselines, tabular]
space:
  use: gevonas/growing-blocks
  with:
    input: { channels: 3, height: 32, width: 32 }
    classes: 10
    stem: { channels: 16, stride: 1 }
    blocks:
      - { layers: 5, channels: 16, stride: 1 }
      - { layers: 5, channels: 32, stride: 2 }
      - { layers: 5, channels: 64, stride: 2 }
      - { layers: 5, channels: 128, stride: 2 }
    operations: [identity, mb3_k3, mb3_k5, mb6_k3, mb6_k5]
    head: 128
estimator: { use: tabular/nk-landscape, with: { neighbours: 4 } }
operators: [{ use: gevonas/operation-mutation, with: { rate: 0.05 } }]
strategy:
  use: baselines/regularized-evolution
  with: { population: 200, sample: 20, evaluations: 100000, batch: 50, epochs: 0 }
objectives: { accuracy: maximise, params: { at_most: 2.0e6 } }
YAML

supernet=()
if [ -f "$(dirname "$pleach")/libpleach_supernet.so" ]; then
  library=$(realpath -s "$(dirname "$pleach")/libpleach_supernet.so")
  supernet=(--set "plugins=[gevonas, datasets, $library]"
    --set "estimator={use: supernet/weight-sharing, with: {device: cpu, threads: 2, batch: 32, held_out: 100, batch_norm: {recalibration_images: 64}}}")
  say "a search on a SuperNet"
else
  say "a search in stages (no SuperNet beside $pleach)"
fi
run tests/small.yaml --set name=stages --dir "$work/stages" "${supernet[@]}"
"$pleach" report "$work/stages"
browse use "$work/stages/report.html" --run "$work/stages" --name stages
browse look "$work/stages/report.html" --name stages

for directory in "$@"; do
  say "the report of $directory"
  name=$(basename "$directory")
  "$pleach" report "$directory" --out "$work/$name.html"
  browse look "$work/$name.html" --name "$name"
done

say "a search of 100,000 evaluations"
run "$work/large.yaml" --dir "$work/large"
"$pleach" report "$work/large"
browse look "$work/large/report.html" --name large
browse load "$work/large/report.html"

say "the live page"
"$pleach" serve "$work/stages" --port 0 >"$work/address" &
server=$!
until grep -q http "$work/address"; do kill -0 "$server"; sleep 0.1; done
browse live "$(grep -o 'http://[^ ]*' "$work/address")" --run "$work/stages"
say "all is as it should be; pictures are in $shots"
