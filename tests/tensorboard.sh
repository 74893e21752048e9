#!/usr/bin/env bash
# A run in the real TensorBoard: searches, writes event files, starts the server, and looks at its
# page in headless Chromium: every scalar with its value, networks, hyperparameters, and the same
# once more after the files were written again. A picture of each tab is left in target/tensorboard/.
# Not a part of run.sh, which reads the files with TensorBoard's reader: it takes a browser.
#
#   bash tests/tensorboard.sh [RUN...]    run directories to look at too
#
# PLEACH is the program (target/debug/pleach), PLUGINS the folder of its plugins beside
# target/debug/deps, CHROMIUM the browser. Searches on a SuperNet and trains what was found where the
# SuperNet's plugin lies beside the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

pleach=${PLEACH:-target/debug/pleach}
plugins=${PLUGINS:-target/debug/deps}
[ -x "$pleach" ] || { echo "missing: $pleach (cargo build -p pleach; cargo test -p pleach-tests --no-run)" >&2; exit 2; }
source tests/chromium.sh
source tests/python_venv.sh
export PYTHONPATH=$PWD/python PYTHONDONTWRITEBYTECODE=1

say() { printf '\n== [%4d s] %s\n' "$SECONDS" "$1"; }
shots=$PWD/target/tensorboard
mkdir -p "$shots"
work=$(mktemp -d)
server=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
pleach() { "$pleach" --plugin-dir "$plugins" "$@" >"$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }; }

supernet=()
is_trained=
if [ -f "$(dirname "$pleach")/libpleach_supernet.so" ]; then
  is_trained=yes
  library=$(realpath -s "$(dirname "$pleach")/libpleach_supernet.so")
  supernet=(--set "plugins=[gevonas, datasets, $library]"
    --set "estimator={use: supernet/weight-sharing, with: {device: cpu, threads: 2, batch: 32, held_out: 100, batch_norm: {recalibration_images: 64}}}"
    --set "train.estimator={use: supernet/stand-alone, with: {device: cpu, epochs: 3, batch: 32, held_out: 0, measure: test, auxiliary: 0}}")
fi
say "a search${is_trained:+ on a SuperNet, and a training}"
pleach run tests/small.yaml --set name=board --dir "$work/runs/board" "${supernet[@]}"
[ -z "$is_trained" ] || pleach train "$work/runs/board"
write() { for directory in "$@"; do "$python" -m pleach.tensorboard "$directory" --out "$work/log/$(basename "$directory")"; done; }
write "$work/runs/board" "$@"

say "TensorBoard"
"$(dirname "$python")/tensorboard" --logdir "$work/log" --port 0 --reload_interval 1 >"$work/server" 2>&1 &
server=$!
until grep -qs "at http" "$work/server"; do
  kill -0 "$server" 2>/dev/null || { cat "$work/server" >&2; exit 1; }
  sleep 0.2
done
address=$(grep -o 'http://[^ ]*' "$work/server" | tail -1)
"$python" - "$work/log" >"$work/scalars.json" <<'PYTHON'
"""The last value of every scalar, by TensorBoard's reader."""
import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

log = pathlib.Path(sys.argv[1])
last = {}
for folder in sorted({file.parent for file in log.rglob("events.out.tfevents.*")}):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    for tag in accumulator.Tags()["scalars"]:
        event = accumulator.Scalars(tag)[-1]
        last.setdefault(tag, {})[folder.relative_to(log).as_posix()] = [event.step, event.value]
json.dump(last, sys.stdout)
PYTHON
"$playwright" tests/tensorboard_page.py "$address" "$work/scalars.json" --shots "$shots" --chromium "$chromium"

say "once more, after the files were written again"
write "$work/runs/board" "$@"
sleep 3
"$playwright" tests/tensorboard_page.py "$address" "$work/scalars.json" --shots "$shots" --chromium "$chromium"
say "all is as it should be; pictures are in $shots"
